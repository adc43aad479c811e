//! How a command spells its options: `flink run` puts a `y` before what `yarn-session.sh` has without.

/// The command that asks the cluster for something, as far as its advice differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// `flink run`, `flink run-application`.
    Flink,
    /// `yarn-session.sh`.
    YarnSession,
}

impl Spelling {
    /// What it starts.
    pub fn what(self) -> &'static str {
        match self {
            Self::Flink => "job",
            Self::YarnSession => "session",
        }
    }

    /// Memory of the JobManager's container.
    pub fn jobmanager_memory(self) -> &'static str {
        match self {
            Self::Flink => "-yjm",
            Self::YarnSession => "-jm",
        }
    }

    /// Memory of a TaskManager's container.
    pub fn taskmanager_memory(self) -> &'static str {
        match self {
            Self::Flink => "-ytm",
            Self::YarnSession => "-tm",
        }
    }

    /// Slots of each TaskManager.
    pub fn slots(self) -> &'static str {
        match self {
            Self::Flink => "-ys",
            Self::YarnSession => "-s",
        }
    }

    /// The advice to ask for this many slots and no more.
    pub fn fewer_slots(self, slots: u64) -> String {
        match self {
            Self::Flink => format!("parallelism {slots} (-p {slots})"),
            Self::YarnSession => {
                format!("{slots} slots from the beginning (-D slotmanager.number-of-slots.min={slots})")
            }
        }
    }
}
