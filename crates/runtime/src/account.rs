//! Whom the program runs as: looked up in the image's own files.
//!
//! A hostile passwd file can harm only its own container: it is found with the image's symlinks kept inside, must be a
//! regular file, and no more than a bound is read. Rules and words: cloudfoundry/guardian:rundmc/users/lookup_linux.go;
//! a given group means no supplementary ones.

use std::fs::File;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;

use crate::init::{During, Failure, inside};
use crate::oci::{IdMapping, User as Ids};

/// More of a passwd or group file is not read.
const LONGEST_FILE: u64 = 4 << 20;

/// An account inside the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    pub home: String,
    /// As asked for.
    pub name: String,
}

impl Account {
    /// As a bundle has it.
    pub fn ids(&self) -> Ids {
        Ids {
            uid: self.uid,
            gid: self.gid,
            additional_gids: self.groups.clone(),
            umask: None,
        }
    }
}

/// Looks `wanted` up in the image whose root is `root`; its ids must be among those of `maps`.
///
/// # Errors
/// With a word for the app's developer.
pub(crate) fn resolve(root: BorrowedFd<'_>, wanted: &str, maps: &[IdMapping]) -> Result<Account, Failure> {
    let account = find(wanted, &read(root, "/etc/passwd")?, &read(root, "/etc/group")?)?;
    let inside = |id: u32| {
        maps.iter()
            .any(|map| id >= map.container_id && id - map.container_id < map.size)
    };
    let size: u64 = maps.iter().map(|map| u64::from(map.size)).sum();
    match [account.uid, account.gid].into_iter().find(|id| !inside(*id)) {
        Some(id) if !maps.is_empty() => Err(Failure::refused(format!(
            "id {id} is not among the {size} ids of the container"
        ))),
        _ => Ok(account),
    }
}

/// The directory a root filesystem is mounted on.
pub(crate) fn open_root(path: &std::path::Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).during(format!("open {} on the cell", path.display()))
}

/// The home directory of a user id, if the image has one.
pub(crate) fn home_of(root: BorrowedFd<'_>, uid: u32) -> Option<String> {
    let passwd = read(root, "/etc/passwd").ok()?;
    let home = users(&passwd).find(|entry| entry.uid == uid)?.home.to_owned();
    home.starts_with('/').then_some(home)
}

/// A file of the image, empty when it is missing or no regular file. A fifo must not make us wait, and a device must
/// not notice us: what it is is looked at before it is opened.
fn read(root: BorrowedFd<'_>, path: &str) -> Result<String, Failure> {
    for flags in [OFlags::PATH, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY] {
        let file = match inside::open(root, path, flags) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(String::new()),
            Err(error) => return Err(error).during(format!("open {path} of the image")),
        };
        let stat = fstat(&file).during(format!("look at {path} of the image"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(String::new());
        }
        if flags.contains(OFlags::NONBLOCK) {
            let mut bytes = Vec::new();
            File::from(file)
                .take(LONGEST_FILE)
                .read_to_end(&mut bytes)
                .during(format!("read {path} of the image"))?;
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Ok(String::new())
}

/// One line of passwd(5).
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(User {
            name,
            uid,
            gid,
            home: fields.nth(1).unwrap_or(""),
        })
    })
}

/// Name, id and members of each line of group(5).
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        Some((name, fields.next()?.parse().ok()?, fields.next().unwrap_or("")))
    })
}

fn find(wanted: &str, passwd: &str, group: &str) -> Result<Account, Failure> {
    let (user, wanted_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (wanted, None),
    };
    let user = if user.is_empty() { "root" } else { user };
    let by_name = users(passwd).find(|entry| entry.name == user);
    let entry = by_name.or_else(|| {
        let number: u32 = user.parse().ok()?;
        users(passwd).find(|entry| entry.uid == number)
    });
    let (uid, own_gid, home) = match (&entry, user.parse(), user) {
        (Some(entry), _, _) => (entry.uid, entry.gid, entry.home),
        (None, Ok(uid), _) => (uid, 0, ""),
        (None, Err(_), "root") => (0, 0, ""),
        (None, Err(_), name) => {
            return Err(Failure::refused(format!(
                "unable to find user {name}: no matching entries in passwd file"
            )));
        }
    };
    let name = entry.map_or("", |entry| entry.name);
    let member = |members: &str| !name.is_empty() && members.split(',').any(|member| member.trim() == name);
    let (gid, groups) = match wanted_group {
        Some(wanted) => (find_group(wanted, group)?, Vec::new()),
        None => {
            let supplementary = groups(group).filter(|(_, gid, members)| *gid != own_gid && member(members));
            (own_gid, supplementary.map(|(_, gid, _)| gid).collect())
        }
    };
    let home = if home.starts_with('/') { home } else { "/" };
    Ok(Account {
        uid,
        gid,
        groups,
        home: home.to_owned(),
        name: wanted.to_owned(),
    })
}

fn find_group(wanted: &str, group: &str) -> Result<u32, Failure> {
    if let Some((_, gid, _)) = groups(group).find(|(name, _, _)| *name == wanted) {
        return Ok(gid);
    }
    let missing = |_| {
        Failure::refused(format!(
            "unable to find group {wanted}: no matching entries in group file"
        ))
    };
    wanted.parse().map_err(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001:,,,:/home/app:/bin/sh\n7:x:70:70::/:\n";
    const GROUP: &str =
        "root:x:0:\napp:x:1001:\naudio:x:29:app,other\nvideo:x:44:other\nadm:x:4:other, app\n";

    fn ids(wanted: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
        find(wanted, PASSWD, GROUP)
            .map(|a| (a.uid, a.gid, a.groups, a.home))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_of_user_is_found() {
        let home = |text: &str| text.to_owned();
        for (wanted, expected) in [
            ("", (0, 0, vec![], home("/root"))),
            ("root", (0, 0, vec![], home("/root"))),
            ("app", (1000, 1001, vec![29, 4], home("/home/app"))),
            ("1000", (1000, 1001, vec![29, 4], home("/home/app"))),
            ("app:audio", (1000, 29, vec![], home("/home/app"))),
            ("app:", (1000, 1001, vec![29, 4], home("/home/app"))),
            ("4321", (4321, 0, vec![], home("/"))),
            ("4321:8765", (4321, 8765, vec![], home("/"))),
            (":44", (0, 44, vec![], home("/root"))),
            // A name of digits is a name first.
            ("7", (70, 70, vec![], home("/"))),
        ] {
            assert_eq!(ids(wanted), Ok(expected), "{wanted:?}");
        }
    }

    #[test]
    fn unknown_names_say_where_they_were_looked_for() {
        let user = ids("nobody").expect_err("unknown");
        assert_eq!(
            user,
            "unable to find user nobody: no matching entries in passwd file"
        );
        let group = ids("app:staff").expect_err("unknown");
        assert_eq!(
            group,
            "unable to find group staff: no matching entries in group file"
        );
        assert_eq!(
            find("root", "", "").map(|a| (a.uid, a.home)).map_err(drop),
            Ok((0, "/".to_owned()))
        );
        assert!(find("-1", "", "").is_err());
    }
}
