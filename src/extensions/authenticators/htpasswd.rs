//! Users and their passwords as `htpasswd` writes them: `user:hash` on each line.
//!
//! Hashes are those of bcrypt, because a stolen file of any other kind is as good as the passwords; a password may also
//! stand as it is, which the Collector takes too.

use std::collections::BTreeMap;

use crate::extensions::authenticators::digest::SecretDigest;

/// More users than this are no file of a gateway's.
const USERS_MAX: usize = 10_000;
/// A check of cost 16 takes seconds: whoever may ask for one could keep a core busy.
const COST_MAX: u32 = 14;

/// How the password of a user is known.
#[derive(Clone)]
enum Known {
    Bcrypt(String),
    Plain(SecretDigest),
}

/// All users.
pub struct Users {
    known: BTreeMap<String, Known>,
    /// Takes the place of a user whom nobody knows, so that the time of a check does not tell.
    stand_in: Option<Known>,
}

impl Users {
    /// Says why where a line cannot be used, without showing its hash.
    pub fn parse(text: &str) -> Result<Users, String> {
        let mut known = BTreeMap::new();
        let lines = text.lines().map(str::trim).enumerate();
        for (at, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let at = at + 1;
            let Some((user, hash)) = line.split_once(':').filter(|(user, hash)| !user.is_empty() && !hash.is_empty())
            else {
                return Err(format!("line {at} is not user:hash"));
            };
            // The last line of a user counts, as in the Collector.
            known.insert(user.to_owned(), parsed(hash).map_err(|why| format!("line {at}: {why}"))?);
            if known.len() > USERS_MAX {
                return Err(format!("there are more than {USERS_MAX} users"));
            }
        }
        if known.is_empty() {
            return Err("there is no user".to_owned());
        }
        let stand_in = known.values().find(|known| matches!(known, Known::Bcrypt(_))).cloned();
        Ok(Users { known, stand_in })
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// True when no check takes long.
    pub fn is_quick(&self) -> bool {
        self.stand_in.is_none()
    }

    /// Whether this is the user's password. Takes as long as one bcrypt where there is any.
    pub fn knows(&self, user: &str, password: &str) -> bool {
        let known = self.known.get(user);
        let right = match known {
            Some(Known::Plain(digest)) => digest.is(&SecretDigest::of(password.as_bytes())),
            Some(Known::Bcrypt(_)) | None => false,
        };
        match (known, &self.stand_in) {
            (Some(Known::Bcrypt(hash)), _) => bcrypt::verify(password, hash).unwrap_or(false),
            (_, Some(Known::Bcrypt(hash))) => {
                let _ = bcrypt::verify(password, hash);
                right
            }
            _ => right,
        }
    }
}

fn parsed(hash: &str) -> Result<Known, String> {
    let bcrypt = ["$2y$", "$2a$", "$2b$", "$2x$"].iter().find_map(|kind| hash.strip_prefix(kind));
    if let Some(rest) = bcrypt {
        let cost = rest.split('$').next().and_then(|cost| cost.parse::<u32>().ok());
        return match cost {
            Some(cost) if cost > COST_MAX => Err(format!("a cost of {cost} is too dear; {COST_MAX} is the most")),
            Some(4..) if hash.len() == 60 && hash.parse::<bcrypt::HashParts>().is_ok() => {
                Ok(Known::Bcrypt(hash.to_owned()))
            }
            _ => Err("this is no hash of bcrypt".to_owned()),
        };
    }
    for (prefix, name) in [
        ("$apr1$", "Apache's MD5"),
        ("{SHA}", "SHA-1"),
        ("{SSHA}", "salted SHA-1"),
        ("$1$", "MD5"),
        ("$5$", "SHA-256 crypt"),
        ("$6$", "SHA-512 crypt"),
    ] {
        if hash.starts_with(prefix) {
            return Err(format!("hashes of {name} are not taken; write the user again by `htpasswd -B`"));
        }
    }
    Ok(Known::Plain(SecretDigest::of(hash.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `htpasswd -nbB -C 4 user kanari`, by the crate itself.
    fn line(user: &str, password: &str) -> String {
        format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap())
    }

    #[test]
    fn users_are_known_by_bcrypt_and_by_plain_passwords_and_nobody_else_is() {
        let users = Users::parse(&format!("# people\n{}plain:pa:ss\n\n", line("ann", "secret"))).ok().unwrap();
        for (user, password, known) in [
            ("ann", "secret", true),
            ("ann", "Secret", false),
            ("ann", "", false),
            ("plain", "pa:ss", true),
            ("plain", "pa", false),
            ("bob", "secret", false),
            ("", "", false),
        ] {
            assert_eq!(users.knows(user, password), known, "{user} {password}");
        }
        assert!(!users.is_quick() && Users::parse("a:b").ok().unwrap().is_quick());
    }

    #[test]
    fn the_last_line_of_a_user_counts() {
        let users = Users::parse("ann:old\nann:new\n").ok().unwrap();
        assert_eq!((users.knows("ann", "old"), users.knows("ann", "new"), users.len()), (false, true, 1));
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named_and_not_shown() {
        for (text, why) in [
            ("", "no user"),
            ("ann", "line 1 is not user:hash"),
            ("a:b\n:kanari", "line 2"),
            ("ann:$apr1$kanari$x", "Apache's MD5"),
            ("ann:{SHA}kanari", "SHA-1"),
            ("ann:$6$kanari", "SHA-512"),
            ("ann:$2y$10$kanari", "no hash of bcrypt"),
            ("ann:$2y$31$kanarikanarikanarikanariuN4NoZ5pfBXq7Y7RmTGxKbLkzpPf5QO", "cost of 31"),
        ] {
            let told = Users::parse(text).err().unwrap();
            assert!(told.contains(why) && !told.contains("kanari"), "{text}: {told}");
        }
    }
}
