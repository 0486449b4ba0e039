//! Changes of one entry: `registry allow`, `deny`, `mirror`, `trust-ca`…

use std::fs;

use serde_json::{Value, json};

use super::{Stored, done, one};
use crate::error::{Error, Result};
use crate::grammar::Args;
use crate::json::Json;
use crate::session::Session;

/// What is done to the document.
enum Change {
    /// An entry of the list at this pointer.
    Entry {
        list: &'static str,
        entry: Value,
        what: String,
        remove: bool,
    },
    /// A value.
    Value { name: &'static str, value: Value },
}

pub(super) async fn edit(session: &Session, args: &Args) -> Result<()> {
    let change = read(session, args)?;
    let (ui, user) = (&session.ui, session.user()?);
    ui.line(&format!(
        "Changing registry settings ({}) as {}...",
        args.at(0),
        ui.name(&user)
    ));
    let stored = Stored::read(session).await?;
    let mut document = stored.document.clone();
    if !apply(&mut document, &stored.options, change)? {
        ui.line("There already.");
        ui.ok();
        return Ok(());
    }
    let version = stored.write(session, &document).await?;
    done(session, version);
    Ok(())
}

fn read(session: &Session, args: &Args) -> Result<Change> {
    let remove = args.has("remove");
    let list = |list, name: &str| {
        let text = one(args, name)?;
        Ok(Change::Entry {
            list,
            entry: text.into(),
            what: format!("'{text}'"),
            remove,
        })
    };
    match args.at(0) {
        "allow" => list("/allow", "RULE"),
        "deny" => list("/deny", "RULE"),
        "redirect" => list("/redirects", "HOST"),
        "insecure" => list("/insecure", "HOST:PORT"),
        "allow-address" => list("/addresses/allow", "CIDR"),
        "deny-address" => list("/addresses/deny", "CIDR"),
        "mirror" => mirror(args, remove),
        "trust-ca" => authority(session, one(args, "FILE")?, remove),
        "default" if remove && args.at(1).is_empty() => Ok(default(Value::Null)),
        "default" => Ok(default(one(args, "HOST")?.into())),
        "root-user" => root_user(one(args, "allow|refuse")?),
        action => Err(Error::Usage(format!("'{action}' is no action of registry"))),
    }
}

fn default(value: Value) -> Change {
    Change::Value {
        name: "default_registry",
        value,
    }
}

fn root_user(word: &str) -> Result<Change> {
    let value = match word {
        "allow" => true,
        "refuse" => false,
        _ => return Err(Error::Usage("root-user wants 'allow' or 'refuse'".to_owned())),
    };
    Ok(Change::Value {
        name: "allow_root_user",
        value: value.into(),
    })
}

fn mirror(args: &Args, remove: bool) -> Result<Change> {
    let (registry, mirror) = (args.at(1), args.at(2));
    if mirror.is_empty() {
        return Err(Error::Usage(
            "the required arguments `REGISTRY` and `MIRROR` were not provided".to_owned(),
        ));
    }
    let fallback = if args.has("no-fallback") {
        "never"
    } else {
        "registry"
    };
    Ok(Change::Entry {
        list: "/mirrors",
        entry: json!({"registry": registry, "mirror": mirror, "fallback": fallback}),
        what: format!("mirror '{mirror}' of '{registry}'"),
        remove,
    })
}

fn authority(session: &Session, file: &str, remove: bool) -> Result<Change> {
    let path = session.directory.join(file);
    let pem = fs::read_to_string(&path)
        .map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
    Ok(Change::Entry {
        list: "/ca_certificates",
        entry: pem.into(),
        what: format!("certificate of {file}"),
        remove,
    })
}

/// Whether two entries are about the same thing: mirrors whatever their fallback.
fn same(one: &Value, other: &Value) -> bool {
    match one.is_object() {
        true => ["/registry", "/mirror"]
            .iter()
            .all(|name| one.text(name) == other.text(name)),
        false => one == other,
    }
}

/// Makes the change; false when there is nothing to change.
fn apply(document: &mut Value, options: &Value, change: Change) -> Result<bool> {
    match change {
        Change::Value { name, value } => {
            let before = document[name].clone();
            document[name] = value;
            Ok(document[name] != before)
        }
        Change::Entry {
            list,
            entry,
            what,
            remove,
        } => {
            let unknown = || Error::message(format!("the platform's settings have no {list}"));
            let given = options.items(list).iter().any(|other| same(other, &entry));
            let entries = document
                .pointer_mut(list)
                .and_then(Value::as_array_mut)
                .ok_or_else(unknown)?;
            let before = entries.clone();
            entries.retain(|other| !same(other, &entry));
            match (remove, entries.len() == before.len()) {
                (true, true) if given => Err(Error::message(format!(
                    "{what} comes from the options of the platform; change them where it is started"
                ))),
                (true, true) => Err(Error::NotFound(format!(
                    "{what} not found; 'registry settings' shows what there is"
                ))),
                (true, false) => Ok(true),
                (false, _) => {
                    // In its old place, for lists are read in order.
                    let place = before.iter().position(|other| same(other, &entry));
                    entries.insert(place.unwrap_or(entries.len()), entry);
                    Ok(*entries != before)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(list: &'static str, entry: Value, remove: bool) -> Change {
        Change::Entry {
            list,
            what: "it".to_owned(),
            entry,
            remove,
        }
    }

    #[test]
    fn entries_come_and_go_once() {
        let options = json!({"deny": ["from-options"]});
        let mut document = json!({"deny": ["a"], "mirrors": [], "addresses": {"allow": []}});
        let mut change = |change| apply(&mut document, &options, change).map_err(|error| error.to_string());
        assert_eq!(change(entry("/deny", "b".into(), false)), Ok(true));
        assert_eq!(change(entry("/deny", "b".into(), false)), Ok(false));
        assert_eq!(change(entry("/deny", "a".into(), true)), Ok(true));
        assert!(
            change(entry("/deny", "a".into(), true))
                .unwrap_err()
                .contains("not found")
        );
        let fixed = change(entry("/deny", "from-options".into(), true)).unwrap_err();
        assert!(fixed.contains("comes from the options"), "{fixed}");
        let mirror = |fallback: &str| json!({"registry": "r", "mirror": "m", "fallback": fallback});
        assert_eq!(change(entry("/mirrors", mirror("registry"), false)), Ok(true));
        assert_eq!(change(entry("/mirrors", mirror("never"), false)), Ok(true));
        assert_eq!(
            change(entry("/addresses/allow", "10.0.0.0/8".into(), false)),
            Ok(true)
        );
        assert!(change(entry("/nonsense", "x".into(), false)).is_err());
        let value = Value::Bool(false);
        assert_eq!(
            change(Change::Value {
                name: "allow_root_user",
                value
            }),
            Ok(true)
        );
        assert_eq!(
            document,
            json!({"deny": ["b"], "mirrors": [mirror("never")], "addresses": {"allow": ["10.0.0.0/8"]},
                "allow_root_user": false})
        );
    }
}
