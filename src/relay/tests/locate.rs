//! Where names live, asked for by how they begin.

use super::harness::{Harness, group};
use crate::wire::body::{Location, RefusalCode, Reply, Request, SubscriptionSpec};

/// All pages of an answer, one after the other.
fn pages(h: &mut Harness, prefix: &str) -> Vec<Vec<Location>> {
    let mut pages: Vec<Vec<Location>> = Vec::new();
    loop {
        let after = pages.last().and_then(|page| page.last()).cloned().map(Box::new);
        match h.request(Request::Locate { group: prefix.to_owned(), prefix: true, after }) {
            Ok(Reply::Located(page)) if page.is_empty() => return pages,
            Ok(Reply::Located(page)) => pages.push(page),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn all_names_are_told_page_by_page_and_none_twice() {
    let mut h = Harness::new();
    let spec = SubscriptionSpec::default;
    for number in 0..1_100 {
        // Groups without a subscription are no answer, and no end of the answers.
        h.open(&format!("empty/{number}"));
        h.subscribe("m/many", &format!("s{number}"), spec());
        h.subscribe(&format!("m/of-{number}"), "s", spec());
    }
    h.subscribe("z", "s", spec());
    h.subscribe("m", "s", spec());
    let told = |pages: Vec<Vec<Location>>| pages.into_iter().map(|page| page.len()).collect::<Vec<_>>();
    assert_eq!(told(pages(&mut h, "m/")), [1_000, 1_000, 200]);
    assert_eq!(told(pages(&mut h, "m")), [1_000, 1_000, 201]);
    let mut all: Vec<Location> = pages(&mut h, "").into_iter().flatten().collect();
    assert_eq!(all.len(), 2_202);
    all.dedup();
    assert_eq!(all.len(), 2_202);
    assert_eq!(all.last().map(|at| &at.group), Some(&group("z")));
    assert_eq!(told(pages(&mut h, "nothing")), [0; 0]);
}

#[test]
fn what_is_no_name_is_one_only_as_a_beginning() {
    let mut h = Harness::new();
    for name in ["", "m/", "/"] {
        let asked = h.request(Request::Locate { group: name.to_owned(), prefix: false, after: None });
        assert_eq!(asked.unwrap_err().code, RefusalCode::Invalid, "{name:?}");
    }
}

/// They are bounded, and those that are gone are not to take the place of others.
#[test]
fn names_of_removed_groups_do_not_count() {
    let mut h = Harness::linked();
    h.subscribe("stays", "s", SubscriptionSpec::default());
    for _ in 0..3 {
        h.subscribe("goes", "s", SubscriptionSpec::default());
        h.subscribe("goes", "t", SubscriptionSpec::default());
        assert_eq!(h.relay.names_known, 3);
        assert_eq!(h.request(Request::GroupRemove { group: group("goes") }), Ok(Reply::Done));
        assert_eq!(h.relay.names_known, 1);
    }
}
