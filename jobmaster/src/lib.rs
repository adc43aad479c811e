//! One job's life: execution graph, placement, deployment, failover. No YARN, no REST, no HDFS.
