//! What happens in the auction house.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970.
pub type Millis = i64;

/// Somebody registers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Person {
    /// Counted from 1000.
    pub id: u64,
    /// First and last name.
    pub name: String,
    /// Where mails go.
    pub email_address: String,
    /// Sixteen digits.
    pub credit_card: String,
    /// Where they live.
    pub city: String,
    /// Two letters.
    pub state: String,
    /// When.
    pub date_time: Millis,
    /// Padding.
    pub extra: String,
}

/// Something is offered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Auction {
    /// Counted from 1000.
    pub id: u64,
    /// What is offered.
    pub item_name: String,
    /// More about it.
    pub description: String,
    /// In cents.
    pub initial_bid: u64,
    /// In cents.
    pub reserve: u64,
    /// When.
    pub date_time: Millis,
    /// The last moment for bids.
    pub expires: Millis,
    /// A person.
    pub seller: u64,
    /// 10 to 14.
    pub category: u64,
    /// Padding.
    pub extra: String,
}

/// Somebody bids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bid {
    /// For which auction.
    pub auction: u64,
    /// A person.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
    /// Through which channel the bid came.
    pub channel: String,
    /// Through which page.
    pub url: String,
    /// When.
    pub date_time: Millis,
    /// Padding.
    pub extra: String,
}

/// Any of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// See [`Person`].
    Person(Person),
    /// See [`Auction`].
    Auction(Auction),
    /// See [`Bid`].
    Bid(Bid),
}

impl Event {
    /// When it happened.
    pub fn date_time(&self) -> Millis {
        match self {
            Self::Person(person) => person.date_time,
            Self::Auction(auction) => auction.date_time,
            Self::Bid(bid) => bid.date_time,
        }
    }
}

/// The day of a moment, as a number of days since 1970 (UTC).
pub fn day(time: Millis) -> i64 {
    time.div_euclid(86_400_000)
}

/// The minute of the day of a moment (UTC).
pub fn minute(time: Millis) -> i64 {
    time.rem_euclid(86_400_000) / 60_000
}

/// The hour of the day of a moment (UTC).
pub fn hour(time: Millis) -> i64 {
    time.rem_euclid(86_400_000) / 3_600_000
}
