//! Log set-up of the long-lived processes: rolling files in the container's log directory.
