//! One process per YARN application: JobManager, ResourceManager, REST.
