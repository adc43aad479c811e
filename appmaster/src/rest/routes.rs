//! Which path does what.

use axum::Router;

use super::RestState;

/// All routes, each also under `/v1`.
pub fn router(state: RestState) -> Router {
    Router::new().with_state(state)
}
