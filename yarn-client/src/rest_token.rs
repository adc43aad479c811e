//! The token of an application's REST interface.

/// A new token for changing REST calls: 244 random bits.
pub fn new() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tokens_are_alike() {
        assert_eq!(new().len(), 64);
        assert_ne!(new(), new());
    }
}
