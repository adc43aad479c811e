//! Event `n`, made from its number and a seed: of fifty events one is a person, three are auctions, the rest bids.

use crate::model::{Auction, Bid, Event, Millis, Person};

/// Ids begin there.
pub const FIRST_ID: u64 = 1000;
const CATEGORIES: u64 = 5;
/// The first category.
pub const FIRST_CATEGORY: u64 = 10;
/// Events in which the pattern repeats.
const PATTERN: u64 = 50;
const AUCTIONS: u64 = 3;
/// Every so many ids one is hot: half of all that refers to an id refers to the last hot one.
const HOT: u64 = 100;
/// What is not hot refers to one of so many last ids.
const RECENT: u64 = 100;

const FIRST_NAMES: [&str; 8] = ["Ada", "Barbara", "Edsger", "Grace", "Leslie", "Niklaus", "Robin", "Tony"];
const LAST_NAMES: [&str; 8] = ["Ahlberg", "Brandt", "Carter", "Dumas", "Ekström", "Fuchs", "Garcia", "Hansen"];
const CITIES: [(&str, &str); 8] = [
    ("Portland", "OR"),
    ("Boise", "ID"),
    ("Los Angeles", "CA"),
    ("Seattle", "WA"),
    ("Phoenix", "AZ"),
    ("Cheyenne", "WY"),
    ("San Francisco", "CA"),
    ("Bend", "OR"),
];
const CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// How events are made.
#[derive(Debug, Clone)]
pub struct Generator {
    /// From which everything follows.
    pub seed: u64,
    /// The time of the first event.
    pub first_time: Millis,
    /// Events per second of event time.
    pub events_per_second: u64,
}

impl Default for Generator {
    /// From the beginning of 2026 (UTC), 10,000 events per second.
    fn default() -> Self {
        Self { seed: 1, first_time: 1_767_225_600_000, events_per_second: 10_000 }
    }
}

/// Numbers that look random and follow from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// From 1 to 1,000,000 dollars, in cents, small prices more often.
    fn price(&mut self) -> u64 {
        let magnitude = 10u64.pow(self.below(6) as u32);
        100 * magnitude + self.below(900 * magnitude)
    }

    fn letters(&mut self, count: u64) -> String {
        (0..count).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }

    /// Of the ids so far, with the last one given.
    fn id(&mut self, last: u64) -> u64 {
        let index = if self.below(2) == 0 { last / HOT * HOT } else { last - self.below(RECENT.min(last + 1)) };
        FIRST_ID + index
    }
}

impl Generator {
    /// When event `n` happens.
    pub fn time(&self, n: u64) -> Millis {
        self.first_time + (u128::from(n) * 1000 / u128::from(self.events_per_second.max(1))) as i64
    }

    /// Event `n`.
    pub fn event(&self, n: u64) -> Event {
        let mut random = Random(self.seed.wrapping_mul(0xD134_2543_DE82_EF95) ^ n.wrapping_mul(0x2545_F491_4F6C_DD1D));
        let (pattern, place) = (n / PATTERN, n % PATTERN);
        let date_time = self.time(n);
        let last_auction = pattern * AUCTIONS + place.min(AUCTIONS).saturating_sub(1);
        match place {
            0 => Event::Person(person(&mut random, pattern, date_time)),
            1..=AUCTIONS => {
                // For as long as between 100 and 3000 events take.
                let open = self.time(n + 100 + random.below(2900)) - date_time;
                Event::Auction(auction(&mut random, last_auction, pattern, date_time, open))
            }
            _ => Event::Bid(bid(&mut random, last_auction, pattern, date_time)),
        }
    }
}

fn person(random: &mut Random, index: u64, date_time: Millis) -> Person {
    let (first, last) = (random.one_of(&FIRST_NAMES), random.one_of(&LAST_NAMES));
    let (city, state) = random.one_of(&CITIES);
    let digits = |random: &mut Random| format!("{:04}", random.below(10_000));
    Person {
        id: FIRST_ID + index,
        name: format!("{first} {last}"),
        email_address: format!("{}@{}.example", random.letters(6), random.letters(5)),
        credit_card: format!("{} {} {} {}", digits(random), digits(random), digits(random), digits(random)),
        city: city.to_owned(),
        state: state.to_owned(),
        date_time,
        extra: random.letters(20),
    }
}

fn auction(random: &mut Random, index: u64, last_person: u64, date_time: Millis, open: Millis) -> Auction {
    let initial_bid = random.price();
    Auction {
        id: FIRST_ID + index,
        item_name: random.letters(12),
        description: random.letters(30),
        initial_bid,
        reserve: initial_bid + random.price(),
        date_time,
        expires: date_time + open,
        seller: random.id(last_person),
        category: FIRST_CATEGORY + random.below(CATEGORIES),
        extra: random.letters(20),
    }
}

fn bid(random: &mut Random, last_auction: u64, last_person: u64, date_time: Millis) -> Bid {
    let page =
        format!("https://auctions.example/{}/{}/{}/item.htm", random.letters(4), random.letters(4), random.letters(4));
    let (channel, url) = if random.below(2) == 0 {
        (random.one_of(&CHANNELS).to_owned(), format!("{page}?query=1"))
    } else {
        let channel = random.below(10_000);
        // Of one in ten the page says nothing.
        let id = if random.below(10) == 0 { String::new() } else { format!("&channel_id={channel}") };
        (format!("channel-{channel}"), format!("{page}?query=1{id}"))
    };
    Bid {
        auction: random.id(last_auction),
        bidder: random.id(last_person),
        price: random.price(),
        channel,
        url,
        date_time,
        extra: random.letters(30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_follow_from_seed_and_number_and_refer_to_what_was_there_before() {
        let generator = Generator::default();
        let (mut persons, mut auctions, mut bids) = (0, 0, 0);
        for n in 0..5000 {
            let event = generator.event(n);
            assert_eq!(event, generator.event(n));
            assert_eq!(event.date_time(), generator.time(n));
            match event {
                Event::Person(person) => {
                    assert_eq!(person.id, FIRST_ID + persons);
                    persons += 1;
                }
                Event::Auction(auction) => {
                    assert_eq!(auction.id, FIRST_ID + auctions);
                    assert!(auction.seller < FIRST_ID + persons && auction.expires > auction.date_time);
                    auctions += 1;
                }
                Event::Bid(bid) => {
                    assert!(bid.bidder < FIRST_ID + persons && bid.auction < FIRST_ID + auctions, "{bid:?}");
                    bids += 1;
                }
            }
        }
        assert_eq!((persons, auctions, bids), (100, 300, 4600));
        let other = Generator { seed: 2, ..generator.clone() };
        assert_ne!(other.event(7), generator.event(7));
    }
}
