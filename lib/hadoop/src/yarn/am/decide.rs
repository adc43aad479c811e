//! What an error of the ResourceManager means. Exception classes are compared without their package.

use crate::rpc::RpcError;

/// The three methods of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Register,
    Allocate,
    Finish,
}

impl Method {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Register => "registerApplicationMaster",
            Self::Allocate => "allocate",
            Self::Finish => "finishApplicationMaster",
        }
    }
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nobody there, or nobody in charge: ask the next ResourceManager, or this one later.
    LookFurther,
    /// The ResourceManager has forgotten the registration: register again.
    Reregister,
    /// It has the registration already: an answer was lost.
    AlreadyRegistered,
    /// Stop everything.
    AttemptOver,
    /// An ask of this heartbeat is at fault.
    BadAsk,
    /// A release of this heartbeat is at fault.
    BadRelease,
    /// A change of the blacklist in this heartbeat is at fault.
    BadBlacklist,
    /// Trying again would not help.
    Refuse,
}

pub(super) fn decide(method: Method, error: &RpcError) -> Verdict {
    let RpcError::Remote { message, .. } = error else {
        return match error {
            // neither another server nor time makes them agree
            RpcError::Sasl { .. } => Verdict::Refuse,
            _ => Verdict::LookFurther,
        };
    };
    match (method, error.remote_class().unwrap_or_default()) {
        (_, "StandbyException" | "RetriableException" | "RMNotYetActiveException") => Verdict::LookFurther,
        (_, "ApplicationAttemptNotFoundException" | "ApplicationNotFoundException") => Verdict::AttemptOver,
        // every connection is made with the newest token, so there is none left to try
        (_, "InvalidToken" | "SaslException") => Verdict::AttemptOver,
        (Method::Allocate | Method::Finish, "ApplicationMasterNotRegisteredException") => Verdict::Reregister,
        (Method::Register, "InvalidApplicationMasterRequestException") if message.contains("already registered") => {
            Verdict::AlreadyRegistered
        }
        (
            Method::Allocate,
            "InvalidResourceRequestException"
            | "InvalidLabelResourceRequestException"
            | "SchedulerInvalidResoureRequestException",
        ) => Verdict::BadAsk,
        (Method::Allocate, "InvalidContainerReleaseException") => Verdict::BadRelease,
        (Method::Allocate, "InvalidResourceBlacklistRequestException") => Verdict::BadBlacklist,
        _ => Verdict::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;
    use crate::rpc::SaslError;

    fn remote(class: &str, message: &str) -> RpcError {
        RpcError::Remote {
            address: "rm:8030".into(),
            doing: "x".into(),
            class: class.into(),
            message: message.into(),
            fatal: false,
        }
    }

    #[test]
    fn each_exception_class_has_its_consequence() {
        use Method::{Allocate, Finish, Register};
        use Verdict::*;
        let yarn = "org.apache.hadoop.yarn.exceptions.";
        let token = "org.apache.hadoop.security.token.SecretManager$";
        for (method, class, message, verdict) in [
            (Allocate, format!("{yarn}ApplicationMasterNotRegisteredException"), "", Reregister),
            (Finish, format!("{yarn}ApplicationMasterNotRegisteredException"), "", Reregister),
            (Register, format!("{yarn}ApplicationMasterNotRegisteredException"), "", Refuse),
            (
                Register,
                format!("{yarn}InvalidApplicationMasterRequestException"),
                "Application Master is already registered : application_1_0001",
                AlreadyRegistered,
            ),
            (Register, format!("{yarn}InvalidApplicationMasterRequestException"), "other", Refuse),
            (Allocate, format!("{yarn}InvalidApplicationMasterRequestException"), "expect responseId to be 3", Refuse),
            (Allocate, format!("{yarn}ApplicationAttemptNotFoundException"), "", AttemptOver),
            (Register, format!("{token}InvalidToken"), "appattempt_1 not found in AMRMTokenSecretManager", AttemptOver),
            (Allocate, format!("{token}InvalidToken"), "Invalid AMRMToken from appattempt_1", AttemptOver),
            (Register, "javax.security.sasl.SaslException".into(), "Mismatched response.", AttemptOver),
            (Register, "org.apache.hadoop.ipc.StandbyException".into(), "", LookFurther),
            (Allocate, "org.apache.hadoop.ipc.RetriableException".into(), "", LookFurther),
            (Allocate, format!("{yarn}InvalidResourceRequestException"), "", BadAsk),
            (Allocate, format!("{yarn}InvalidLabelResourceRequestException"), "", BadAsk),
            (Finish, format!("{yarn}InvalidResourceRequestException"), "", Refuse),
            (Allocate, format!("{yarn}InvalidContainerReleaseException"), "", BadRelease),
            (Allocate, format!("{yarn}InvalidResourceBlacklistRequestException"), "", BadBlacklist),
            (Allocate, "java.lang.NullPointerException".into(), "", Refuse),
            (Allocate, String::new(), "", Refuse),
        ] {
            assert_eq!(decide(method, &remote(&class, message)), verdict, "{method:?} {class} {message}");
        }
    }

    #[test]
    fn whatever_breaks_on_the_way_is_looked_for_elsewhere() {
        let (address, doing) = (String::from("rm:8030"), String::from("allocate"));
        let io = || io::Error::from(io::ErrorKind::ConnectionReset);
        for error in [
            RpcError::Connect { address: address.clone(), cause: io() },
            RpcError::Io { address: address.clone(), doing: doing.clone(), cause: io() },
            RpcError::Timeout { address: address.clone(), doing, after: Duration::ZERO },
            RpcError::Dead { address: address.clone() },
        ] {
            assert_eq!(decide(Method::Allocate, &error), Verdict::LookFurther, "{error}");
        }
        let error = RpcError::Sasl { address, cause: SaslError::ServerProof };
        assert_eq!(decide(Method::Allocate, &error), Verdict::Refuse);
    }
}
