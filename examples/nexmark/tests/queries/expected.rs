//! The results of the queries by plain loops, without streams.

use std::collections::{BTreeMap, BTreeSet};

use flumen_nexmark::model::{Auction, Bid, Event, Millis, Person};
use flumen_nexmark::queries::{
    AuctionStatistics, BiddingStatistics, Calculated, CategoryAverage, ChannelStatistics, HotItem, LocalItem, Winner,
};

/// Everything that happened, in its order.
pub(crate) struct World {
    pub(crate) persons: Vec<Person>,
    pub(crate) auctions: Vec<Auction>,
    pub(crate) bids: Vec<Bid>,
}

/// Price, time, bidder.
type Offer = (u64, Millis, u64);

const DAY: Millis = 86_400_000;

impl World {
    pub(crate) fn new(events: impl Iterator<Item = Event>) -> Self {
        let mut world = Self { persons: Vec::new(), auctions: Vec::new(), bids: Vec::new() };
        for event in events {
            match event {
                Event::Person(person) => world.persons.push(person),
                Event::Auction(auction) => world.auctions.push(auction),
                Event::Bid(bid) => world.bids.push(bid),
            }
        }
        world
    }

    pub(crate) fn q1(&self) -> Vec<Bid> {
        let mut bids = self.bids.clone();
        bids.iter_mut().for_each(|bid| bid.price = bid.price * 908 / 1000);
        bids
    }

    pub(crate) fn q2(&self) -> Vec<(u64, u64)> {
        self.bids.iter().filter(|bid| bid.auction % 123 == 0).map(|bid| (bid.auction, bid.price)).collect()
    }

    pub(crate) fn q3(&self) -> Vec<LocalItem> {
        let mut rows = Vec::new();
        for auction in self.auctions.iter().filter(|auction| auction.category == 10) {
            let seller = self.persons.iter().find(|person| person.id == auction.seller).unwrap();
            if matches!(seller.state.as_str(), "OR" | "ID" | "CA") {
                rows.push((seller.name.clone(), seller.city.clone(), seller.state.clone(), auction.id));
            }
        }
        rows
    }

    pub(crate) fn winners(&self) -> Vec<Winner> {
        let mut winners = Vec::new();
        for auction in &self.auctions {
            let mut best: Option<&Bid> = None;
            for bid in self.bids.iter().filter(|bid| bid.auction == auction.id) {
                if bid.date_time < auction.date_time || bid.date_time > auction.expires {
                    continue;
                }
                let wins = best.is_none_or(|best| {
                    bid.price > best.price
                        || bid.price == best.price && (bid.date_time, bid.bidder) < (best.date_time, best.bidder)
                });
                if wins {
                    best = Some(bid);
                }
            }
            if let Some(bid) = best {
                winners.push(Winner {
                    auction: auction.id,
                    category: auction.category,
                    seller: auction.seller,
                    bidder: bid.bidder,
                    price: bid.price,
                    date_time: bid.date_time,
                });
            }
        }
        winners
    }

    pub(crate) fn q4(&self) -> Vec<CategoryAverage> {
        let mut prices: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        self.winners().into_iter().for_each(|winner| prices.entry(winner.category).or_default().push(winner.price));
        let average = |prices: &[u64]| prices.iter().sum::<u64>() / prices.len() as u64;
        prices.into_iter().map(|(category, prices)| (category, average(&prices), prices.len() as u64)).collect()
    }

    pub(crate) fn q5(&self, size: Millis, slide: Millis) -> Vec<HotItem> {
        let mut counts: BTreeMap<Millis, BTreeMap<u64, u64>> = BTreeMap::new();
        for bid in &self.bids {
            for start in bid.date_time - size + 1..=bid.date_time {
                if start.rem_euclid(slide) == 0 {
                    *counts.entry(start).or_default().entry(bid.auction).or_default() += 1;
                }
            }
        }
        let mut rows = Vec::new();
        for (start, counts) in counts {
            let most = *counts.values().max().unwrap();
            let hottest = counts.into_iter().filter(|(_, count)| *count == most);
            rows.extend(hottest.map(|(auction, count)| (auction, count, start, start + size)));
        }
        rows
    }

    pub(crate) fn q6(&self) -> Vec<(u64, u64)> {
        let over = |winner: &Winner| self.auctions.iter().find(|auction| auction.id == winner.auction).unwrap().expires;
        let mut winners = self.winners();
        winners.sort_by_key(|winner| (over(winner), winner.auction));
        let mut sold: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let mut rows = Vec::new();
        for winner in winners {
            let prices = sold.entry(winner.seller).or_default();
            prices.push(winner.price);
            let last = &prices[prices.len().saturating_sub(10)..];
            rows.push((winner.seller, last.iter().sum::<u64>() / last.len() as u64));
        }
        rows
    }

    pub(crate) fn q7(&self, size: Millis) -> Vec<Bid> {
        let mut windows: BTreeMap<Millis, Vec<&Bid>> = BTreeMap::new();
        self.bids.iter().for_each(|bid| windows.entry(bid.date_time / size).or_default().push(bid));
        let mut rows = Vec::new();
        for bids in windows.values() {
            let highest = bids.iter().map(|bid| bid.price).max().unwrap();
            rows.extend(bids.iter().filter(|bid| bid.price == highest).map(|bid| (*bid).clone()));
        }
        rows
    }

    pub(crate) fn q8(&self, size: Millis) -> Vec<(u64, String, Millis)> {
        let sold: BTreeSet<(u64, Millis)> =
            self.auctions.iter().map(|auction| (auction.seller, auction.date_time / size)).collect();
        let new = self.persons.iter().filter(|person| sold.contains(&(person.id, person.date_time / size)));
        new.map(|person| (person.id, person.name.clone(), person.date_time / size * size)).collect()
    }

    pub(crate) fn q10(&self) -> Vec<String> {
        let line = |bid: &Bid| {
            let (day, hour) = (bid.date_time / DAY, bid.date_time % DAY / 3_600_000);
            format!("{day}/{hour:02}\t{},{},{},{}", bid.auction, bid.bidder, bid.price, bid.date_time)
        };
        self.bids.iter().map(line).collect()
    }

    pub(crate) fn q11(&self, gap: Millis) -> Vec<(u64, u64, Millis, Millis)> {
        let mut times: BTreeMap<u64, Vec<Millis>> = BTreeMap::new();
        self.bids.iter().for_each(|bid| times.entry(bid.bidder).or_default().push(bid.date_time));
        let mut rows: Vec<(u64, u64, Millis, Millis)> = Vec::new();
        for (bidder, mut times) in times {
            times.sort_unstable();
            let first = rows.len();
            for time in times {
                match rows[first..].last_mut() {
                    Some((_, count, _, end)) if time <= *end => {
                        *count += 1;
                        *end = time + gap;
                    }
                    _ => rows.push((bidder, 1, time, time + gap)),
                }
            }
        }
        rows
    }

    pub(crate) fn bids_by_bidder(&self) -> BTreeMap<u64, u64> {
        let mut counts = BTreeMap::new();
        self.bids.iter().for_each(|bid| *counts.entry(bid.bidder).or_default() += 1);
        counts
    }

    pub(crate) fn q13(&self, table: &BTreeMap<u64, String>) -> Vec<(u64, u64, u64, String)> {
        let known = self.bids.iter().filter_map(|bid| Some((bid, table.get(&(bid.auction % 1000))?)));
        known.map(|(bid, value)| (bid.auction, bid.bidder, bid.price, value.clone())).collect()
    }

    pub(crate) fn q14(&self) -> Vec<Calculated> {
        let mut rows = Vec::new();
        for bid in &self.bids {
            let price = bid.price * 908 / 1000;
            if !(1_000_000..50_000_000).contains(&price) {
                continue;
            }
            let hour = bid.date_time % DAY / 3_600_000;
            let time_of_day = if (8..=18).contains(&hour) {
                "dayTime"
            } else if hour <= 6 || hour >= 20 {
                "nightTime"
            } else {
                "otherTime"
            };
            rows.push(Calculated {
                auction: bid.auction,
                bidder: bid.bidder,
                price,
                time_of_day: time_of_day.to_owned(),
                date_time: bid.date_time,
                count_of_c: bid.extra.chars().filter(|c| *c == 'c').count() as u64,
            });
        }
        rows
    }

    pub(crate) fn q15(&self) -> Vec<(i64, BiddingStatistics)> {
        let days: BTreeSet<i64> = self.bids.iter().map(|bid| bid.date_time / DAY).collect();
        let statistics = |day: i64| statistics(self.bids.iter().filter(|bid| bid.date_time / DAY == day));
        days.into_iter().map(|day| (day, statistics(day))).collect()
    }

    pub(crate) fn q16(&self) -> Vec<ChannelStatistics> {
        let mut groups: BTreeMap<(String, i64), Vec<&Bid>> = BTreeMap::new();
        self.bids.iter().for_each(|bid| {
            groups.entry((bid.channel.clone(), bid.date_time / DAY)).or_default().push(bid);
        });
        let row = |((channel, day), bids): ((String, i64), Vec<&Bid>)| {
            let minute = bids.iter().map(|bid| bid.date_time % DAY / 60_000).max().unwrap();
            (channel, day, minute, statistics(bids.into_iter()))
        };
        groups.into_iter().map(row).collect()
    }

    pub(crate) fn q17(&self) -> Vec<AuctionStatistics> {
        let mut groups: BTreeMap<(u64, i64), Vec<u64>> = BTreeMap::new();
        self.bids.iter().for_each(|bid| groups.entry((bid.auction, bid.date_time / DAY)).or_default().push(bid.price));
        let row = |((auction, day), prices): ((u64, i64), Vec<u64>)| AuctionStatistics {
            auction,
            day,
            bids: [
                prices.len() as u64,
                prices.iter().filter(|price| **price < 10_000).count() as u64,
                prices.iter().filter(|price| (10_000..1_000_000).contains(*price)).count() as u64,
                prices.iter().filter(|price| **price >= 1_000_000).count() as u64,
            ],
            min: *prices.iter().min().unwrap(),
            max: *prices.iter().max().unwrap(),
            sum: prices.iter().sum(),
        };
        groups.into_iter().map(row).collect()
    }

    pub(crate) fn q18(&self) -> Vec<Bid> {
        let mut last: BTreeMap<(u64, u64), &Bid> = BTreeMap::new();
        for bid in &self.bids {
            let entry = last.entry((bid.bidder, bid.auction)).or_insert(bid);
            if (bid.date_time, bid) > (entry.date_time, *entry) {
                *entry = bid;
            }
        }
        last.into_values().cloned().collect()
    }

    pub(crate) fn q19(&self) -> Vec<(u64, Vec<Offer>)> {
        let mut offers: BTreeMap<u64, Vec<Offer>> = BTreeMap::new();
        for bid in &self.bids {
            offers.entry(bid.auction).or_default().push((bid.price, bid.date_time, bid.bidder));
        }
        for offers in offers.values_mut() {
            offers.sort_unstable();
            offers.reverse();
            offers.truncate(10);
        }
        offers.into_iter().collect()
    }

    pub(crate) fn q20(&self) -> Vec<(Bid, Auction)> {
        let mut rows = Vec::new();
        for auction in self.auctions.iter().filter(|auction| auction.category == 10) {
            let bids = self.bids.iter().filter(|bid| bid.auction == auction.id);
            rows.extend(bids.map(|bid| (bid.clone(), auction.clone())));
        }
        rows
    }

    pub(crate) fn q21(&self) -> Vec<(u64, u64, u64, String, String)> {
        let mut rows = Vec::new();
        for bid in &self.bids {
            let id = match bid.channel.as_str() {
                "Apple" => "0",
                "Google" => "1",
                "Facebook" => "2",
                "Baidu" => "3",
                _ => match bid.url.find("&channel_id=") {
                    Some(at) => &bid.url[at + "&channel_id=".len()..],
                    None => continue,
                },
            };
            rows.push((bid.auction, bid.bidder, bid.price, bid.channel.clone(), id.to_owned()));
        }
        rows
    }

    pub(crate) fn q22(&self) -> Vec<(u64, u64, u64, String, [String; 3])> {
        let mut rows = Vec::new();
        for bid in &self.bids {
            let parts: Vec<&str> = bid.url.split('/').collect();
            let directories = [parts[3].to_owned(), parts[4].to_owned(), parts[5].to_owned()];
            rows.push((bid.auction, bid.bidder, bid.price, bid.channel.clone(), directories));
        }
        rows
    }
}

/// Counts by sets, one for each rank.
fn statistics<'a>(bids: impl Iterator<Item = &'a Bid> + Clone) -> BiddingStatistics {
    let of_rank: [fn(u64) -> bool; 4] =
        [|_| true, |price| price < 10_000, |price| (10_000..1_000_000).contains(&price), |price| price >= 1_000_000];
    let count = |wanted: fn(u64) -> bool| bids.clone().filter(|bid| wanted(bid.price)).count() as u64;
    let bidders = |wanted: fn(u64) -> bool| {
        let seen: BTreeSet<u64> = bids.clone().filter(|bid| wanted(bid.price)).map(|bid| bid.bidder).collect();
        seen.len() as u64
    };
    let auctions = |wanted: fn(u64) -> bool| {
        let seen: BTreeSet<u64> = bids.clone().filter(|bid| wanted(bid.price)).map(|bid| bid.auction).collect();
        seen.len() as u64
    };
    BiddingStatistics { bids: of_rank.map(count), bidders: of_rank.map(bidders), auctions: of_rank.map(auctions) }
}
