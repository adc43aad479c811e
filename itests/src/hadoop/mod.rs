//! A real Hadoop for tests: HDFS and YARN on loopback, one JVM per daemon, from the jars of `itests/hadoop/pom.xml`.
//!
//! [`install`] fetches the jars once per machine and prepares what makes starts cheap; [`site`] writes the `*-site.xml`
//! files ([`masters`] for two NameNodes and two ResourceManagers); [`daemon`] is one JVM; [`health`] asks each daemon whether it works; [`cluster`] puts them together; and the
//! watchdog ([`watchdog`]) ends everything when the process that started it ends, however that happens.

mod cluster;
mod daemon;
mod health;
pub mod install;
mod masters;
mod ports;
mod site;
mod warm;
mod watchdog;
mod zookeeper;

pub use cluster::{Builder, ContainerLog, HadoopCluster};
pub use daemon::Daemon;
pub use site::Site;
pub use zookeeper::ZooKeeper;
