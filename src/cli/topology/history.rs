//! `treecast topology history` and `show`: the topologies that a relay has, and how one of them is named.

use std::fmt;

use serde_json::{Value, json};

use crate::client::Client;
use crate::id::WallTime;
use crate::topology::TopologyVersion;
use crate::wire::applied::TopologyHead;
use crate::wire::body::{FileStanding, Reply, Request, TopologyInfo};

use super::super::exit::Failure;
use super::super::out::Context;
use super::super::table::{Side, Table};
use super::super::{ask, human};

/// One of those that a relay has: `5`, or `5-0f3a9c21` where two of one version were applied at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    counter: u64,
    /// The first digits of its hash.
    hash: Option<String>,
}

/// Reads such a name.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn named(text: &str) -> Result<Named, String> {
    let (counter, hash) = text.split_once('-').map_or((text, None), |(counter, hash)| (counter, Some(hash)));
    let is_hash = |hash: &str| (1..=16).contains(&hash.len()) && hash.bytes().all(|b| b.is_ascii_hexdigit());
    match counter.parse() {
        Ok(counter) if hash.is_none_or(is_hash) => {
            Ok(Named { counter, hash: hash.map(str::to_ascii_lowercase) })
        }
        Ok(_) | Err(_) => {
            Err("write a version like 3, or 3-0f3a9c21 with the first digits of its hash".to_owned())
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hash {
            Some(hash) => write!(f, "{}-{hash}", self.counter),
            None => write!(f, "{}", self.counter),
        }
    }
}

impl Named {
    /// The one of this version; of several that which has overtaken the others.
    pub(super) fn plain(counter: u64) -> Self {
        Self { counter, hash: None }
    }

    /// Its version as all relays count it.
    pub(super) fn counter(&self) -> u64 {
        self.counter
    }

    /// The whole hash, if it is named by that: one of those that the relay has.
    pub(super) fn hash(&self, kept: &[TopologyHead]) -> Result<Option<u64>, Failure> {
        let Some(digits) = &self.hash else { return Ok(None) };
        let versions = kept.iter().map(|head| head.version);
        let mut found = versions.filter(|version| {
            version.counter == self.counter && format!("{:016x}", version.hash).starts_with(digits)
        });
        match (found.next(), found.next()) {
            (Some(version), None) => Ok(Some(version.hash)),
            (Some(_), Some(_)) => {
                Err(Failure::Usage(format!("{self} may be more than one: write more digits")))
            }
            (None, _) => {
                let known: Vec<String> = kept.iter().map(|head| head.version.to_string()).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(Failure::Missing(format!("this relay has no topology {self}; it has {known}")))
            }
        }
    }

    /// Whether it is this one.
    pub(super) fn means(&self, version: TopologyVersion, hash: Option<u64>) -> bool {
        version.counter == self.counter && hash.is_none_or(|hash| hash == version.hash)
    }
}

/// The others of a version that a relay has, as an aside.
pub(super) fn twins(version: TopologyVersion, kept: &[TopologyHead]) -> String {
    let others = kept.iter().map(|head| head.version);
    let others = others.filter(|other| other.counter == version.counter && *other != version);
    let others: Vec<String> = others.map(|other| other.to_string()).collect();
    if others.is_empty() { String::new() } else { format!("; it has overtaken {}", others.join(", ")) }
}

/// Which one is in force again: by its number, or by all of its name where that number has two.
fn restored(head: &TopologyHead, earlier: u64, kept: &[TopologyHead]) -> String {
    let named: Vec<_> = kept.iter().map(|head| head.version).filter(|of| of.counter == earlier).collect();
    let same = named.iter().find(|of| of.hash == head.version.hash);
    same.filter(|_| named.len() > 1).map_or_else(|| earlier.to_string(), ToString::to_string)
}

/// Lists those that the relay has.
pub(super) async fn history(context: &mut Context) -> Result<(), Failure> {
    let client = ask::connect(&context.global.relay).await?;
    let known = topology(&client, None, None).await?;
    if !context.is_text() {
        let rows = known.kept.iter().enumerate();
        return Ok(rows
            .map(|(place, head)| head_json(head, place == 0))
            .try_for_each(|row| context.out.json(&row))?);
    }
    let mut table = Table::new(&[
        ("VERSION", Side::Right),
        ("HASH", Side::Left),
        ("APPLIED AT", Side::Left),
        ("WHEN", Side::Left),
        ("", Side::Left),
    ]);
    for (place, head) in known.kept.iter().enumerate() {
        let is_twin = |other: &&TopologyHead| other.version.counter == head.version.counter;
        let has_twin = known.kept.iter().filter(is_twin).count() > 1;
        let is_overtaken = known.kept[..place].iter().any(|other| is_twin(&other));
        let note = match (place, head.version.counter, head.restores) {
            (0, 1.., None) => "in force".to_owned(),
            (0, _, Some(earlier)) => format!("in force, {} again", restored(head, earlier, &known.kept)),
            (_, 0, _) => "the file it was started with".to_owned(),
            (_, _, Some(earlier)) => format!("{} again", restored(head, earlier, &known.kept)),
            (_, _, None) if is_overtaken => "overtaken".to_owned(),
            (_, _, None) => String::new(),
        };
        table.row(vec![
            if has_twin { head.version.to_string() } else { head.version.counter.to_string() },
            format!("{:016x}", head.version.hash),
            head.by.to_string(),
            when(head),
            note,
        ]);
    }
    if known.kept.is_empty() {
        context.notes.note("no topology was applied to this network yet: every relay goes by its own file");
    }
    Ok(table.write(&mut context.out)?)
}

/// Writes the text of one to standard output.
pub(super) async fn show(version: Option<Named>, context: &mut Context) -> Result<(), Failure> {
    let client = ask::connect(&context.global.relay).await?;
    let mut found = topology(&client, None, None).await?;
    if let Some(named) = version {
        let hash = named.hash(&found.kept)?;
        found = entry_of(&client, &named, hash).await?;
    }
    let Some(entry) = &found.entry else {
        let file = match found.file {
            FileStanding::Used => "this relay goes by a file of its own that is too long to be shown",
            FileStanding::None | FileStanding::Same | FileStanding::Differs => {
                "this relay was started without a file"
            }
        };
        return Err(Failure::Missing(format!("no topology was applied to this network yet, and {file}")));
    };
    if context.is_text() {
        return Ok(context.out.bytes(entry.text.as_bytes())?);
    }
    let is_in_force = found.kept.first().is_some_and(|first| *first == entry.head);
    let mut value = head_json(&entry.head, is_in_force);
    value["text"] = json!(entry.text);
    value["file"] = json!(standing(found.file));
    Ok(context.out.json(&value)?)
}

fn standing(file: FileStanding) -> &'static str {
    match file {
        FileStanding::None => "none",
        FileStanding::Used => "used",
        FileStanding::Same => "same",
        FileStanding::Differs => "differs",
    }
}

fn when(head: &TopologyHead) -> String {
    if head.at == WallTime(0) { "-".to_owned() } else { human::timestamp(head.at) }
}

/// A version, for programs.
pub(in crate::cli) fn head_json(head: &TopologyHead, is_in_force: bool) -> Value {
    json!({
        "version": head.version.counter,
        "hash": format!("{:016x}", head.version.hash),
        "by": head.by,
        "at": (head.at > WallTime(0)).then(|| human::timestamp(head.at)),
        "restores": head.restores,
        "in_force": is_in_force,
    })
}

/// A topology that the relay has, with all that it knows of; the one in force unless a version is named.
pub(super) async fn topology(
    client: &Client,
    version: Option<u64>,
    hash: Option<u64>,
) -> Result<TopologyInfo, Failure> {
    let Reply::Topology(info) = ask::ask(client, Request::TopologyShow { version, hash }).await? else {
        return Err(ask::unexpected("a topology"));
    };
    Ok(*info)
}

/// The same of one that is named.
pub(super) async fn entry_of(
    client: &Client,
    named: &Named,
    hash: Option<u64>,
) -> Result<TopologyInfo, Failure> {
    let found = topology(client, Some(named.counter), hash).await?;
    // An older relay knows no hashes, and tells another one of that version.
    if found.entry.as_ref().is_some_and(|entry| !named.means(entry.head.version, hash)) {
        return Err(Failure::Missing(format!(
            "this relay cannot tell topology {named}: it is an older program"
        )));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RelayId;

    #[test]
    fn one_of_two_of_a_version_is_named_by_the_first_digits_of_its_hash() {
        let head = |counter, hash| TopologyHead {
            version: TopologyVersion { counter, hash },
            by: RelayId::new("r").unwrap(),
            at: WallTime(1),
            restores: None,
        };
        let kept = [head(2, 7), head(1, 0xab12 << 48), head(1, 0xab34 << 48)];
        let hash = |text: &str| named(text).unwrap().hash(&kept);
        assert_eq!(hash("1").unwrap(), None);
        assert_eq!(hash("1-AB3").unwrap(), Some(0xab34 << 48));
        assert_eq!(hash(&kept[1].version.to_string()).unwrap(), Some(0xab12 << 48));
        assert!(hash("1-ab").unwrap_err().to_string().contains("more digits"));
        assert!(hash("2-ab").unwrap_err().to_string().ends_with("it has 2-00000000, 1-ab120000, 1-ab340000"));
        assert_eq!(twins(kept[1].version, &kept), "; it has overtaken 1-ab340000");
        assert_eq!(twins(kept[0].version, &kept), "");
        for wrong in ["", "x", "1-", "1-xyz", "-1", "1-00000000000000000"] {
            assert!(named(wrong).is_err(), "{wrong}");
        }
    }
}
