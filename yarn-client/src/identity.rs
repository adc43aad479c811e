//! Who runs this command.

/// The user on clusters without Kerberos: `HADOOP_USER_NAME`, else the process's user by its number, else `USER`.
pub fn user() -> String {
    let named = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
    named("HADOOP_USER_NAME").or_else(user_of_process).or_else(|| named("USER")).unwrap_or_else(|| "nobody".to_owned())
}

fn user_of_process() -> Option<String> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    name_of(&passwd, &uid)
}

fn name_of(passwd: &str, uid: &str) -> Option<String> {
    let mut entries = passwd.lines().map(|line| line.split(':'));
    entries.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbroken\n";
        assert_eq!(name_of(passwd, "1000").as_deref(), Some("alice"));
        assert_eq!(name_of(passwd, "7"), None);
    }
}
