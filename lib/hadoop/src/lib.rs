//! Hadoop without Java: configuration, tokens, RPC, YARN's REST and ApplicationMaster protocols.
//!
//! In: Hadoop's configuration directory, a container's token file, addresses. Out: an application submitted and watched
//! ([`rest`]), an ApplicationMaster that registers, asks for containers and starts them ([`yarn`]). It knows nothing of the
//! program that uses it. Start reading at [`yarn::ApplicationMasterClient`] or [`rest::ResourceManagerClient`].

pub mod conf;

#[cfg(feature = "yarn")]
pub mod rest;
#[cfg(feature = "yarn")]
pub mod rpc;
#[cfg(feature = "yarn")]
pub mod token;
#[cfg(feature = "yarn")]
pub mod yarn;
