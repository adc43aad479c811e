//! Who wants to lead, who leads, and how that is written.

use std::fmt;
use std::str::FromStr;

use flumen_model::ids::Epoch;

use crate::HaError;

/// A process that wants to lead a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The application that it belongs to, such as `application_1700000000000_0001`: letters, digits, `_` and `-`.
    pub owner: String,
    /// Which of the application's attempts it is, from 1. An attempt never takes the leadership from a later one of the same
    /// application, and its epoch is not below this number.
    pub attempt: u32,
    /// An application, owner of the same cluster id, of which the caller knows that it has ended: it may be taken over.
    pub replaces: Option<String>,
    /// Whether it leads in place of a former leader only: a cluster that was cleaned up is not begun anew, whenever that was.
    pub follows: bool,
}

/// Being the leader of a cluster, until a newer one comes. Only [`HaStore::campaign`](crate::HaStore::campaign) makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    pub(crate) claim: Claim,
}

impl Leadership {
    /// The leader's number, greater than every earlier leader's of this cluster.
    pub fn epoch(&self) -> Epoch {
        self.claim.epoch
    }
}

/// The leader as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its number.
    pub epoch: Epoch,
    /// Where it is; `None` while it has not said so yet.
    pub addresses: Option<Addresses>,
}

/// Where a leader is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// `host:port` at which it listens for TaskExecutors.
    pub internal: String,
    /// `host:port` of its REST interface; empty when it has none.
    pub rest: String,
}

/// A leadership as it is written: `<epoch>.<owner>.<attempt>.<token>`, or `0` for nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) epoch: Epoch,
    pub(crate) owner: String,
    pub(crate) attempt: u32,
    /// Tells this claim from every other one.
    pub(crate) token: String,
}

/// What a candidate finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The claim that it makes next.
    May(Claim),
    /// A later attempt of the same application leads.
    Superseded,
    /// Another application's.
    Occupied,
}

impl Claim {
    pub(crate) fn nobody() -> Self {
        Self { epoch: Epoch(0), owner: String::new(), attempt: 0, token: String::new() }
    }

    /// What `candidate` may do where this claim stands.
    pub(crate) fn standing(&self, candidate: &Candidate, token: &str) -> Standing {
        if self.epoch.0 == 0 && candidate.follows {
            return Standing::Superseded;
        }
        if self.epoch.0 > 0 {
            if self.owner == candidate.owner {
                if self.attempt > candidate.attempt {
                    return Standing::Superseded;
                }
            } else if candidate.replaces.as_ref() != Some(&self.owner) {
                return Standing::Occupied;
            }
        }
        Standing::May(Self {
            epoch: Epoch((self.epoch.0 + 1).max(u64::from(candidate.attempt))),
            owner: candidate.owner.clone(),
            attempt: candidate.attempt,
            token: token.to_owned(),
        })
    }
}

impl Candidate {
    /// Refuses an owner whose name can't be a part of names.
    pub(crate) fn check(&self) -> Result<(), HaError> {
        let owner = &self.owner;
        if is_plain(owner) && owner.len() <= 100 {
            return Ok(());
        }
        let expected = "at most 100 letters, digits, `_` and `-` are expected";
        Err(HaError::Setting(format!("`{owner}` can't own a cluster: {expected}")))
    }
}

/// Whether a text can stand in a file name and in a claim as it is.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch.0 == 0 {
            return f.write_str("0");
        }
        write!(f, "{}.{}.{}.{}", self.epoch, self.owner, self.attempt, self.token)
    }
}

/// Reads what [`Claim`]'s `Display` writes, and nothing else.
impl FromStr for Claim {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "0" {
            return Ok(Self::nobody());
        }
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(());
        let epoch = next()?.parse::<u64>().map_err(|_| ())?;
        let owner = next()?.to_owned();
        let attempt = next()?.parse::<u32>().map_err(|_| ())?;
        let token = next()?.to_owned();
        let claim = Self { epoch: Epoch(epoch), owner, attempt, token };
        let whole = epoch > 0 && is_plain(&claim.owner) && is_plain(&claim.token) && claim.to_string() == text;
        if whole { Ok(claim) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(epoch: u64, owner: &str, attempt: u32) -> Claim {
        Claim { epoch: Epoch(epoch), owner: owner.to_owned(), attempt, token: "t".to_owned() }
    }

    #[test]
    fn a_claim_is_read_back_from_its_name() {
        let found = claim(12, "application_17_0001", 3);
        assert_eq!(found.to_string(), "12.application_17_0001.3.t");
        assert_eq!(found.to_string().parse(), Ok(found));
        assert_eq!("0".parse(), Ok(Claim::nobody()));
        for text in ["", "0.a.1.t", "01.a.1.t", "1.a.1", "1.a.1.t.x", "1..1.t", "1.a b.1.t", "1.a.+1.t", "00"] {
            assert_eq!(text.parse::<Claim>(), Err(()), "{text}");
        }
    }

    #[test]
    fn who_may_claim_what() {
        let candidate = |owner: &str, attempt, replaces: Option<&str>| Candidate {
            owner: owner.to_owned(),
            attempt,
            replaces: replaces.map(str::to_owned),
            follows: false,
        };
        let cases = [
            (Claim::nobody(), candidate("a", 1, None), Ok(1)),
            (Claim::nobody(), candidate("a", 3, None), Ok(3)),
            (claim(1, "a", 1), candidate("a", 2, None), Ok(2)),
            (claim(5, "a", 1), candidate("a", 2, None), Ok(6)),
            (claim(5, "a", 2), candidate("a", 2, None), Ok(6)),
            (claim(5, "a", 3), candidate("a", 2, None), Err(Standing::Superseded)),
            (claim(5, "b", 1), candidate("a", 2, None), Err(Standing::Occupied)),
            (claim(5, "b", 9), candidate("a", 1, Some("b")), Ok(6)),
            (claim(5, "b", 1), candidate("a", 1, Some("c")), Err(Standing::Occupied)),
        ];
        for (found, candidate, expected) in cases {
            let expected = match expected {
                Ok(epoch) => Standing::May(claim(epoch, &candidate.owner, candidate.attempt)),
                Err(standing) => standing,
            };
            assert_eq!(found.standing(&candidate, "t"), expected, "{candidate:?} at {found:?}");
        }
    }
}
