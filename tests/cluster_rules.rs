//! The rules of clusters, case by case.

use std::collections::BTreeMap;

use firstlight::cluster::leave::LeaveError;
use firstlight::cluster::serf::{Line, Status};
use firstlight::cluster::sight::{Report, sight};
use firstlight::cluster::*;

const NOW: u64 = 10_000_000;
/// What it is for, the cluster, who is not well, who is disturbed, how, and whether it may be.
type Guarded<'a> = (&'a str, Cluster, Vec<NodeView>, u64, Vec<Disruption>, bool);
/// What it is for, who is not well, what serf says, and how each contradiction begins.
type Sighted<'a> = (&'a str, Vec<NodeView>, Vec<(u64, Report)>, Vec<&'a str>);

const OLD: &str = "base@1, etcd@1";
const NEW: &str = "base@1, etcd@2";

/// A node that has what it should and is well.
fn well(id: u64) -> NodeView {
    NodeView {
        id,
        name: format!("n{id}"),
        address: format!("10.0.0.{id}"),
        group: "rack".into(),
        ready: true,
        ready_since: id,
        reachable: true,
        last_seen: NOW - 5000,
        healthy: true,
        wanted: "g1".into(),
        current: "g1".into(),
        change: OLD.into(),
        current_change: OLD.into(),
        last: Some(Tried {
            generation: "g1".into(),
            change: OLD.into(),
            failed: false,
            reason: String::new(),
            at: 5000,
        }),
        ..NodeView::default()
    }
}

/// A node that is ready and never had a generation.
fn fresh(id: u64) -> NodeView {
    NodeView { current: String::new(), current_change: String::new(), last: None, ..well(id) }
}

/// `node` after its pins changed.
fn pinned(node: NodeView) -> NodeView {
    NodeView { wanted: "g2".into(), change: NEW.into(), ..node }
}

fn failed(node: NodeView) -> NodeView {
    let last = Tried {
        generation: node.wanted.clone(),
        change: node.change.clone(),
        failed: true,
        reason: "rolled back: etcd does not answer".into(),
        at: NOW - 1000,
    };
    NodeView { last: Some(last), ..node }
}

fn nodes(list: impl IntoIterator<Item = NodeView>) -> Nodes {
    list.into_iter().map(|node| (node.id, node)).collect()
}

fn member(node: u64, role: &str, state: MemberState) -> Member {
    let index = u32::try_from(node).expect("small");
    Member { node, role: Some(role.into()), index, state, since: 1000, next_role: None, forced: false }
}

/// A cluster with these control members and workers, all in.
fn cluster(control: &[u64], workers: &[u64]) -> Cluster {
    let control = control.iter().map(|id| member(*id, CONTROL, MemberState::Member));
    let workers = workers.iter().map(|id| member(*id, WORKER, MemberState::Member));
    let members: Vec<Member> = control.chain(workers).collect();
    Cluster { name: "prod".into(), seed: Some(1), members, rules: Vec::new(), formed: true }
}

fn rules() -> Vec<RoleRule> {
    vec![
        RoleRule { role: CONTROL.into(), count: Some(3), group: Some("rack".into()) },
        RoleRule { role: WORKER.into(), count: None, group: Some("rack".into()) },
    ]
}

/// The turns as text: `1 go, 2 wait: …`.
fn told(clusters: &[Cluster], nodes: &Nodes) -> BTreeMap<u64, String> {
    told_after(clusters, nodes, &BTreeMap::new())
}

fn told_after(clusters: &[Cluster], nodes: &Nodes, retries: &BTreeMap<String, u64>) -> BTreeMap<u64, String> {
    let fleet = Fleet { clusters, nodes, retries, limits: Limits::default() };
    let text = |decision| match decision {
        Decision::Go => "go".to_owned(),
        Decision::Applying => "applying".to_owned(),
        Decision::Wait(why) => format!("wait: {why}"),
        Decision::Skip(why) => format!("skip: {why}"),
        Decision::Stopped(why) => why,
    };
    turns(&fleet, NOW).into_iter().map(|turn| (turn.node, text(turn.decision))).collect()
}

#[test]
fn a_member_keeps_its_index_and_a_free_one_is_given_again() {
    let mut clusters: BTreeMap<String, Cluster> =
        ["a", "b"].map(|name| (name.to_owned(), Cluster { name: name.into(), ..Cluster::default() })).into();
    for (node, index) in [(7, 0), (5, 1), (9, 2), (5, 1)] {
        assert_eq!(join(&mut clusters, "a", node, NOW), Ok(index));
    }
    assert_eq!(
        join(&mut clusters, "b", 5, NOW),
        Err(MemberError::Elsewhere { node: 5, cluster: "a".into() }),
        "one cluster at most"
    );
    let a = clusters.get_mut("a").expect("it is there");
    a.begin_leave(5, None, NOW).expect("a member");
    a.finish_leave(5, &Nodes::new(), NOW).expect("a member");
    a.finish_leave(5, &Nodes::new(), NOW).expect("done again after a crash");
    assert_eq!(join(&mut clusters, "a", 11, NOW), Ok(1));
    assert_eq!(join(&mut clusters, "a", 12, NOW), Ok(3));
    assert_eq!(join(&mut clusters, "c", 5, NOW), Err(MemberError::NoCluster("c".into())));
    let a = clusters.get_mut("a").expect("it is there");
    a.begin_leave(12, None, NOW).expect("a member");
    assert!(matches!(join(&mut clusters, "a", 12, NOW), Err(MemberError::Leaving { .. })));
}

#[test]
fn roles_go_to_who_is_ready_first_and_stay() {
    let joining =
        |id: u64| Member { role: None, state: MemberState::Joining, ..member(id, "", MemberState::Joining) };
    let mut c = Cluster { name: "prod".into(), rules: rules(), ..Cluster::default() };
    c.members = (1..=5).map(joining).collect();
    let not_ready = |id| NodeView { ready: false, ..fresh(id) };
    let mut all =
        nodes([not_ready(1), fresh(2), NodeView { ready_since: 1, ..fresh(3) }, not_ready(4), not_ready(5)]);
    let given: Vec<_> = assign(&c, &all).into_iter().map(|given| (given.node, given.role)).collect();
    assert_eq!(given, [(3, CONTROL.to_owned()), (2, CONTROL.to_owned())]);
    for (node, role) in given {
        give_role(&mut c, node, &role, NOW).expect("it had none");
    }
    assert!(assign(&c, &all).is_empty(), "nothing more while nobody else is ready");
    for id in [1, 4, 5] {
        all.insert(id, fresh(id));
    }
    let given: Vec<_> = assign(&c, &all).into_iter().map(|given| (given.node, given.role)).collect();
    assert_eq!(given, [(1, CONTROL.to_owned()), (4, WORKER.to_owned()), (5, WORKER.to_owned())]);
    give_role(&mut c, 4, CONTROL, NOW).expect("by hand");
    let given: Vec<_> = assign(&c, &all).into_iter().map(|given| (given.node, given.role)).collect();
    assert_eq!(given, [(1, WORKER.to_owned()), (5, WORKER.to_owned())], "by hand counts too");
    let error = give_role(&mut c, 4, WORKER, NOW).expect_err("it has another");
    assert!(error.to_string().contains("firstlight cluster role prod 4 worker"), "{error}");
    assert!(give_role(&mut c, 5, "Bad Role", NOW).is_err());
}

#[test]
fn the_seed_stays_until_it_leaves_and_then_is_the_lowest_healthy_control_member() {
    let mut c = cluster(&[1, 2, 3], &[4]);
    let all = nodes([well(1), NodeView { healthy: false, ..well(2) }, well(3), well(4)]);
    c.seat(&all);
    assert_eq!(c.seed, Some(1));
    c.begin_leave(1, None, NOW).expect("a member");
    c.observe(&all, NOW);
    assert_eq!(c.seed, Some(3), "2 is not healthy, 4 is a worker");
    assert!(c.formed, "nobody bootstraps again");
    let mut c = Cluster { rules: rules(), formed: false, ..cluster(&[], &[4]) };
    c.seat(&all);
    assert_eq!(c.seed, None, "no worker forms a cluster that is to have control members");
    let mut c = Cluster { formed: false, seed: None, ..cluster(&[], &[4]) };
    c.seat(&all);
    assert_eq!(c.seed, Some(4), "nobody is control here");
}

#[test]
fn a_cluster_is_formed_once_its_seed_is_in() {
    let mut c = cluster(&[1, 2], &[]);
    c.formed = false;
    for member in &mut c.members {
        member.state = MemberState::Joining;
    }
    assert!(c.bootstraps(1) && !c.bootstraps(2));
    assert!(!c.observe(&nodes([fresh(1), fresh(2)]), NOW));
    assert!(c.observe(&nodes([well(1), fresh(2)]), NOW));
    assert!(c.formed && !c.bootstraps(1));
    assert_eq!(c.members[1].state, MemberState::Joining);
}

#[test]
fn a_second_control_member_is_never_taken_down() {
    use Disruption::{Apply, Leave, Reload, Retire, Role, Upgrade, Wipe};
    let away = |id| NodeView { reachable: false, last_seen: NOW - 600_000, ..well(id) };
    let ill = |id| NodeView { healthy: false, ..well(id) };
    let at_it = |id| NodeView { applying_since: Some(NOW - 5000), ..well(id) };
    let busy = |id| NodeView { busy: Some("upgrade".into()), ..well(id) };
    let off = |id| NodeView { ready: false, ..well(id) };
    let three = || cluster(&[1, 2, 3], &[4]);
    let five = || cluster(&[1, 2, 3, 4, 5], &[]);
    let cases: Vec<Guarded> = vec![
        ("all are up", three(), vec![], 1, vec![Apply, Reload, Upgrade, Wipe, Retire, Role, Leave], true),
        ("another is not reachable", three(), vec![away(2)], 1, vec![Apply, Reload, Wipe, Leave], false),
        ("another is not healthy", three(), vec![ill(2)], 1, vec![Apply, Upgrade, Retire], false),
        ("another is not ready", three(), vec![off(2)], 1, vec![Apply, Role], false),
        ("another applies", three(), vec![at_it(2)], 1, vec![Apply, Wipe], false),
        ("another is upgraded", three(), vec![busy(2)], 1, vec![Reload], false),
        ("a worker, whoever is down", three(), vec![away(1), away(2)], 4, vec![Apply, Wipe, Retire], true),
        ("a second of five, though three would stay", five(), vec![away(2)], 1, vec![Apply, Wipe], false),
        ("the dead one itself", three(), vec![away(1)], 1, vec![Apply, Wipe, Leave, Retire], true),
        (
            "the dead one itself, while another applies",
            three(),
            vec![away(1), at_it(2)],
            1,
            vec![Apply, Reload],
            false,
        ),
        (
            "one that is off, while another is upgraded",
            three(),
            vec![off(1), busy(2)],
            1,
            vec![Upgrade],
            false,
        ),
        ("the ill one itself", three(), vec![ill(1)], 1, vec![Apply, Reload, Wipe], true),
        ("one of two ill ones: work on it helps", three(), vec![ill(1), ill(2)], 1, vec![Apply], true),
        (
            "one of two ill ones: what it knows may be needed",
            three(),
            vec![ill(1), ill(2)],
            1,
            vec![Wipe],
            false,
        ),
        ("an ill one may be the last vote", three(), vec![ill(1), away(2)], 1, vec![Apply, Wipe], false),
        (
            "a dead one, another dead: no majority votes it out",
            three(),
            vec![away(1), away(2)],
            1,
            vec![Leave],
            false,
        ),
        ("a dead one of five, another dead", five(), vec![away(1), away(2)], 1, vec![Leave, Wipe], true),
        ("of two, the other is up", cluster(&[1, 2], &[]), vec![], 1, vec![Apply, Leave, Wipe], true),
        ("of two, the other is not", cluster(&[1, 2], &[]), vec![ill(2)], 1, vec![Apply, Leave], false),
        ("of two, the dead one", cluster(&[1, 2], &[]), vec![away(1)], 1, vec![Leave, Retire], false),
        ("the only one comes back", cluster(&[1], &[]), vec![], 1, vec![Apply, Reload, Upgrade], true),
        (
            "the only one does not come back",
            cluster(&[1], &[]),
            vec![],
            1,
            vec![Wipe, Retire, Leave, Role],
            false,
        ),
        ("no member at all", three(), vec![], 9, vec![Wipe], true),
    ];
    for (case, c, odd, target, disruptions, may) in cases {
        let mut all = nodes((1..=5).map(well));
        all.extend(odd.into_iter().map(|node| (node.id, node)));
        for disruption in disruptions {
            let result = may_take_down(&c, &all, target, disruption, NOW);
            assert_eq!(result.is_ok(), may, "{case}: {disruption:?}: {result:?}");
        }
    }
}

#[test]
fn leaving_and_joining_members_count() {
    let mut c = cluster(&[1, 2, 3], &[]);
    c.members[1].state = MemberState::Leaving;
    let all = nodes((1..=4).map(well));
    assert!(may_take_down(&c, &all, 1, Disruption::Apply, NOW).is_err(), "2 is leaving");
    let mut c = cluster(&[1, 2, 3], &[]);
    let late = Member {
        state: MemberState::Joining,
        since: NOW - 60_000,
        ..member(4, CONTROL, MemberState::Joining)
    };
    c.members.push(late);
    assert_eq!(may_take_down(&c, &all, 1, Disruption::Apply, NOW), Ok(()), "4 has not begun");
    let mut half = all.clone();
    half.insert(4, failed(pinned(well(4))));
    let refusal = may_take_down(&c, &half, 1, Disruption::Apply, NOW).expect_err("4 is half in");
    assert_eq!(refusal.down, [4]);
    assert_eq!(may_take_down(&c, &half, 4, Disruption::Apply, NOW), Ok(()), "4 may try again");
}

#[test]
fn a_refusal_is_a_sentence_with_what_to_do() {
    let mut all = nodes((1..=3).map(well));
    all.insert(2, NodeView { reachable: false, last_seen: NOW - 720_000, ..well(2) });
    let refusal =
        may_take_down(&cluster(&[1, 2, 3], &[]), &all, 1, Disruption::Wipe, NOW).expect_err("2 is down");
    assert_eq!(
        refusal.to_string(),
        "can't wipe n1: it would be one more of 3 control members that is down, where n2 is not reachable (last \
         heard of 12 min ago); bring n2 back, or take the dead out of the cluster, or say --force to do it all the same"
    );
    let alone =
        may_take_down(&cluster(&[1], &[]), &all, 1, Disruption::Retire, NOW).expect_err("the last one");
    assert!(alone.to_string().contains("make another node a control member first"), "{alone}");
}

#[test]
fn the_seed_forms_the_cluster_before_anybody_joins() {
    let mut c = cluster(&[1, 2, 3], &[4, 5]);
    c.formed = false;
    for member in &mut c.members {
        member.state = MemberState::Joining;
    }
    let mut all = nodes((1..=5).map(fresh));
    let at = told(&[c.clone()], &all);
    assert_eq!(at[&1], "go");
    for id in 2..=5 {
        assert_eq!(at[&id], "wait: waits for the seed of cluster prod, n1, to form it");
    }
    all.insert(1, NodeView { reachable: false, last_seen: 0, ..fresh(1) });
    let at = told(&[c.clone()], &all);
    assert!(at[&2].contains("n1, which is not reachable (never heard of), to form it"), "{}", at[&2]);
    // It is in: now one control member, and one worker of the group.
    all.insert(1, well(1));
    c.observe(&all, NOW);
    let at = told(&[c.clone()], &all);
    assert_eq!((at[&2].as_str(), at[&4].as_str()), ("go", "go"));
    assert_eq!(at[&3], "wait: waits for n2: control members go one at a time");
    assert_eq!(at[&5], "wait: waits for n4, the first of its group to try it");
    // n2 is at it, and counts from then on.
    all.insert(2, NodeView { applying_since: Some(NOW - 1000), ..fresh(2) });
    let at = told(&[c.clone()], &all);
    assert_eq!(at[&2], "applying");
    assert!(
        at[&3].starts_with("wait: waits to join until all control members are up: n2 has been applying"),
        "{}",
        at[&3]
    );
    // It has it, and does not get well: nobody follows.
    all.insert(2, NodeView { healthy: false, ..well(2) });
    let at = told(&[c.clone()], &all);
    assert!(at[&3].contains("n2 is not healthy"), "{}", at[&3]);
    all.insert(2, well(2));
    c.observe(&all, NOW);
    assert_eq!(told(&[c], &all)[&3], "go");
}

#[test]
fn control_members_change_one_at_a_time_the_ailing_one_first() {
    let c = [cluster(&[1, 2, 3], &[])];
    let mut all = nodes((1..=3).map(|id| pinned(well(id))));
    assert_eq!(told(&c, &all)[&1], "go");
    assert!(told(&c, &all)[&2].contains("one at a time"));
    all.insert(3, NodeView { healthy: false, ..pinned(well(3)) });
    let at = told(&c, &all);
    assert_eq!(at[&3], "go", "it costs nothing");
    assert!(at[&1].contains("waits for n3"), "{}", at[&1]);
    all.insert(3, NodeView { reachable: false, ..pinned(well(3)) });
    let at = told(&c, &all);
    assert!(at[&3].starts_with("skip: is not reachable"), "{}", at[&3]);
    assert!(at[&1].contains("n3 is not reachable"), "the majority comes first: {}", at[&1]);
}

#[test]
fn two_clusters_do_not_wait_for_each_other() {
    let other = Cluster { name: "test".into(), seed: Some(4), ..cluster(&[4, 5, 6], &[]) };
    let all = nodes((1..=6).map(|id| pinned(well(id))));
    let at = told(&[cluster(&[1, 2, 3], &[]), other], &all);
    assert_eq!((at[&1].as_str(), at[&4].as_str()), ("go", "go"));
}

#[test]
fn workers_go_after_one_of_their_group_has_proved_it() {
    let everybody = |node: fn(u64) -> NodeView| nodes((1..=20).map(node));
    let count = |at: &BTreeMap<u64, String>| at.values().filter(|text| *text == "go").count();
    let mut all = everybody(|id| pinned(well(id)));
    assert_eq!(count(&told(&[], &all)), 1, "one tries it");
    let mut other = pinned(well(20));
    other.group = "other".into();
    all.insert(20, other);
    assert_eq!(count(&told(&[], &all)), 2, "one of each group");
    let mut all = everybody(|id| pinned(well(id)));
    all.insert(1, NodeView { applying_since: Some(NOW), ..pinned(well(1)) });
    assert_eq!(count(&told(&[], &all)), 0);
    let done = |id| NodeView { current: "g2".into(), current_change: NEW.into(), ..pinned(well(id)) };
    all.insert(1, NodeView { healthy: false, ..done(1) });
    let at = told(&[], &all);
    assert_eq!(at[&2], "wait: waits: n1 got it first and is not healthy with it");
    all.insert(1, done(1));
    assert_eq!(count(&told(&[], &all)), 5, "a quarter of twenty");
    all.insert(2, NodeView { applying_since: Some(NOW), ..pinned(well(2)) });
    all.insert(3, NodeView { healthy: false, ..done(3) });
    all.insert(4, NodeView { reachable: false, ..pinned(well(4)) });
    let at = told(&[], &all);
    assert_eq!(count(&at), 3, "one is at it and one is not well; who is away does not count");
    assert!(at[&4].starts_with("skip"));
    // Newcomers have no work to be kept from: ten at once.
    let mut all = everybody(fresh);
    all.insert(1, well(1));
    assert_eq!(count(&told(&[], &all)), 10);
    assert_eq!(told(&[], &all)[&20], "wait: waits for n2, n3, n4, n5 and 6 more: of its group, 10 at once");
}

/// What it is for, how n1 (control) and n2 (none) stand to the change, and what each is told.
type TriedTogether<'a> = (&'a str, NodeView, NodeView, Option<&'a str>, Option<&'a str>);

#[test]
fn a_control_member_and_who_is_none_do_not_try_a_change_at_once() {
    let done = |id| NodeView { current: "g2".into(), current_change: NEW.into(), ..pinned(well(id)) };
    let at_it = |id| NodeView { applying_since: Some(NOW), ..pinned(well(id)) };
    let first = "wait: waits for n1, the first of its group to try it";
    let second = "wait: waits for n2, the first of its group to try it";
    let cases: [TriedTogether<'_>; 6] = [
        ("nobody has it", pinned(well(1)), pinned(well(2)), Some("go"), Some(first)),
        ("the control member is at it", at_it(1), pinned(well(2)), Some("applying"), Some(first)),
        ("the other one is", pinned(well(1)), at_it(2), Some(second), Some("applying")),
        ("the control member has it", done(1), pinned(well(2)), None, Some("go")),
        ("the other one has it", pinned(well(1)), done(2), Some("go"), None),
        (
            "another group",
            pinned(well(1)),
            NodeView { group: "other".into(), ..at_it(2) },
            Some("go"),
            Some("applying"),
        ),
    ];
    for (what, n1, n2, of_n1, of_n2) in cases {
        let at = told(&[cluster(&[1], &[])], &nodes([n1, n2]));
        assert_eq!(
            (at.get(&1).map(String::as_str), at.get(&2).map(String::as_str)),
            (of_n1, of_n2),
            "{what}"
        );
    }
    let follows = |id| NodeView { wanted: "g1b".into(), ..well(id) };
    let at = told(&[cluster(&[1], &[])], &nodes([follows(1), follows(2)]));
    assert_eq!(
        (at[&1].as_str(), at[&2].as_str()),
        ("go", "go"),
        "they have it, and follow their surroundings"
    );
}

#[test]
fn who_is_away_is_skipped_and_the_next_one_tries() {
    let mut all = nodes((1..=4).map(|id| pinned(well(id))));
    all.insert(1, NodeView { reachable: false, ..pinned(well(1)) });
    assert_eq!(told(&[], &all)[&2], "go");
    let gone = |id| NodeView {
        reachable: false,
        current: "g2".into(),
        current_change: NEW.into(),
        ..pinned(well(id))
    };
    all.insert(1, gone(1));
    assert_eq!(told(&[], &all)[&2], "go", "one may just be off");
    all.insert(2, gone(2));
    assert!(told(&[], &all)[&3].contains("n1 and n2 got it and are not reachable"));
}

#[test]
fn a_failure_stops_the_change_until_the_pins_change_or_an_operator_says_retry() {
    let mut all = nodes((1..=4).map(|id| pinned(well(id))));
    all.insert(1, failed(pinned(well(1))));
    let c = [cluster(&[3], &[])];
    let at = told(&c, &all);
    for id in 1..=4 {
        assert_eq!(
            at[&id],
            "stopped: n1 rolled back: etcd does not answer; pin other bundles, or, once the cause is gone: \
             firstlight bundle retry NODE"
        );
    }
    let retries = BTreeMap::from([(NEW.to_owned(), NOW - 500)]);
    let at = told_after(&c, &all, &retries);
    assert_eq!(
        (at[&1].as_str(), at[&3].as_str()),
        ("wait: waits for n3, the first of its group to try it", "go")
    );
    let stale = BTreeMap::from([(NEW.to_owned(), NOW - 5000)]);
    assert!(told_after(&c, &all, &stale)[&2].starts_with("stopped"), "it failed again since");
    // Other pins.
    for node in all.values_mut() {
        node.wanted = "g3".into();
        node.change = "base@1, etcd@3".into();
    }
    assert_eq!(told(&c, &all)[&3], "go");
}

#[test]
fn who_has_the_change_follows_its_surroundings_carefully_after_a_failure() {
    let follows = |id| NodeView { wanted: "g1b".into(), ..well(id) };
    let mut all = nodes((1..=40).map(follows));
    let count = |at: BTreeMap<u64, String>| at.values().filter(|text| *text == "go").count();
    assert_eq!(count(told(&[], &all)), 10, "nobody need try it first");
    all.insert(1, failed(follows(1)));
    assert_eq!(count(told(&[], &all)), 1);
    all.insert(2, failed(follows(2)));
    assert_eq!(count(told(&[], &all)), 0);
}

#[test]
fn who_falls_silent_while_it_applies_stops_the_change() {
    let mut all = nodes((1..=4).map(|id| pinned(well(id))));
    let silent = NodeView {
        reachable: false,
        applying_since: Some(NOW - 90_000),
        last_seen: NOW - 80_000,
        ..pinned(well(1))
    };
    all.insert(1, silent);
    let at = told(&[], &all);
    assert!(at[&2].starts_with("stopped: n1 was last heard of 80 s ago, while it applied it"), "{}", at[&2]);
    let retries = BTreeMap::from([(NEW.to_owned(), NOW)]);
    assert_eq!(told_after(&[], &all, &retries)[&2], "go");
}

#[test]
fn who_is_busy_or_leaving_gets_no_turn() {
    let mut c = cluster(&[1], &[2, 3]);
    c.begin_leave(2, None, NOW).expect("a member");
    c.begin_leave(3, Some(CONTROL), NOW).expect("a member");
    let mut all = nodes((1..=5).map(|id| pinned(well(id))));
    all.insert(4, NodeView { busy: Some("upgrade".into()), ..pinned(well(4)) });
    all.insert(5, NodeView { ready: false, ..pinned(well(5)) });
    let at = told(&[c], &all);
    assert_eq!(at[&2], "skip: is leaving cluster prod");
    assert_eq!(at[&3], "skip: leaves its role in cluster prod to be control");
    assert_eq!(at[&4], "skip: is busy with: upgrade; it gets its turn afterwards");
    assert_eq!(at[&5], "skip: is not ready; it gets its turn when it is");
}

#[test]
fn the_way_out_of_a_cluster() {
    let c = cluster(&[1, 2, 3], &[4]);
    let all = nodes((1..=4).map(well));
    let by_itself = |on| vec![Step::Mark, Step::Drain { on }, Step::Hooks { on }, Step::Finish];
    assert_eq!(leave(&c, &all, 2, false, NOW), Ok(by_itself(2)));
    let mut dead = all.clone();
    dead.insert(2, NodeView { reachable: false, ..well(2) });
    assert_eq!(
        leave(&c, &dead, 2, false, NOW),
        Ok(vec![Step::Mark, Step::Evict { on: 1, gone: 2 }, Step::Finish]),
        "another control member speaks for it"
    );
    dead.insert(3, NodeView { reachable: false, ..well(3) });
    assert!(matches!(leave(&c, &dead, 2, false, NOW), Err(LeaveError::Refused(_))));
    assert!(leave(&c, &dead, 2, true, NOW).is_ok());
    let mut new = c.clone();
    new.members.push(member(5, CONTROL, MemberState::Joining));
    assert_eq!(
        leave(&new, &nodes([fresh(5)]), 5, false, NOW),
        Ok(vec![Step::Mark, Step::Finish]),
        "it never began"
    );
    assert!(matches!(leave(&c, &all, 9, false, NOW), Err(LeaveError::Member(_))));
    let dead = nodes([NodeView { reachable: false, ..well(4) }]);
    let lost = cluster(&[], &[4]);
    assert!(matches!(leave(&lost, &dead, 4, false, NOW), Err(LeaveError::NobodyLeft { .. })));
    assert_eq!(leave(&lost, &dead, 4, true, NOW), Ok(vec![Step::Mark, Step::Abandon, Step::Finish]));
}

#[test]
fn a_role_changes_by_leaving_and_joining() {
    let mut c = cluster(&[1, 2, 3], &[4]);
    let all = nodes((1..=4).map(well));
    let steps = change_role(&c, &all, 4, CONTROL, false, NOW).expect("it may");
    assert_eq!(steps, [Step::Mark, Step::Drain { on: 4 }, Step::Hooks { on: 4 }, Step::Finish, Step::Turn]);
    c.begin_leave(4, Some(CONTROL), NOW).expect("a member");
    assert_eq!(change_role(&c, &all, 4, CONTROL, false, NOW), Err(LeaveError::SameRole(4, CONTROL.into())));
    c.finish_leave(4, &all, NOW).expect("a member");
    c.finish_leave(4, &all, NOW).expect("done again after a crash");
    let member = c.member(4).expect("it stays").clone();
    assert_eq!(
        (member.role.as_deref(), member.state, member.index),
        (Some(CONTROL), MemberState::Joining, 4)
    );
    // What it tried as a worker does not make it a control member that is down.
    assert_eq!(may_take_down(&c, &all, 1, Disruption::Apply, NOW), Ok(()));
    let mut pinned_all = all.clone();
    pinned_all.insert(4, pinned(well(4)));
    assert_eq!(told(&[c.clone()], &pinned_all)[&4], "go");
    let mut ill = all;
    ill.insert(2, NodeView { healthy: false, ..well(2) });
    let refused = change_role(&c, &ill, 1, WORKER, false, NOW).expect_err("2 is down").to_string();
    assert!(refused.starts_with("can't give another role to n1"), "{refused}");
}

#[test]
fn services_are_those_of_members_that_are_well() {
    let mut c = cluster(&[1, 2, 3], &[4]);
    c.members[1].state = MemberState::Joining;
    let offers = vec![
        Offer { name: "etcd-client".into(), protocol: Protocol::Tcp, port: 2379 },
        Offer { name: "dns".into(), protocol: Protocol::Udp, port: 53 },
    ];
    let offering = |id| NodeView { offers: offers.clone(), ..well(id) };
    let all = nodes([offering(1), offering(2), NodeView { healthy: false, ..offering(3) }, offering(4)]);
    let list: Vec<_> = services(&c, &all);
    let told: Vec<_> = list.iter().map(|service| (service.name.as_str(), service.host.as_str())).collect();
    assert_eq!(told, [("dns", "n1"), ("dns", "n4"), ("etcd-client", "n1"), ("etcd-client", "n4")]);
    assert_eq!(list[2].owner("prod", "example.org."), "_etcd-client._tcp.prod.example.org");
    assert_eq!(list[0].owner("prod", "example.org"), "_dns._udp.prod.example.org");
}

#[test]
fn contradictions_between_heartbeats_and_serf_are_told() {
    let c = cluster(&[1, 2, 3], &[]);
    let line = |id: u64, status| {
        let address = format!("10.0.0.{id}").parse().expect("an address");
        Line { name: format!("n{id}"), address, status }
    };
    let report = |lines: Vec<Line>| Report { at: NOW - 1000, lines };
    let (a, f) = (Status::Alive, Status::Failed);
    let away = |id| NodeView { reachable: false, last_seen: NOW - 600_000, ..well(id) };
    let stale = Report { at: 0, lines: vec![] };
    let elsewhere = Line { address: "10.9.9.9".parse().expect("an address"), ..line(2, a) };
    let all_alive = || report(vec![line(1, a), line(2, a), line(3, a)]);
    let cases: Vec<Sighted> = vec![
        ("all agree", vec![], vec![(1, all_alive()), (2, all_alive()), (3, all_alive())], vec![]),
        ("no serf here", vec![], vec![], vec![]),
        (
            "heartbeats come, the others see nothing",
            vec![],
            vec![
                (1, report(vec![line(1, a), line(2, f), line(3, a)])),
                (3, report(vec![line(1, a), line(3, a)])),
            ],
            vec!["n2 sends heartbeats, but n1 and n3 can't see it"],
        ),
        (
            "left by itself",
            vec![],
            vec![(1, report(vec![line(2, Status::Left), line(3, a)])), (3, report(vec![line(1, a)]))],
            vec!["n2 sends heartbeats, but has left serf"],
        ),
        (
            "no heartbeats, the others see it",
            vec![away(2)],
            vec![(1, all_alive())],
            vec!["n2 has sent no heartbeat for 10 min, but is seen alive by n1"],
        ),
        ("gone for both", vec![away(2)], vec![(1, report(vec![line(2, f), line(3, a)]))], vec![]),
        (
            "split",
            vec![],
            vec![(1, report(vec![line(2, f), line(3, a)])), (3, report(vec![line(1, a), line(2, a)]))],
            vec!["n2 is seen alive by n3, and not by n1: the network between them is split"],
        ),
        ("an old list says nothing", vec![], vec![(1, stale)], vec![]),
        (
            "another address",
            vec![],
            vec![(1, report(vec![elsewhere, line(3, a)]))],
            vec!["n2 has address 10.0.0.2, but serf reaches it at 10.9.9.9"],
        ),
        (
            "a stranger",
            vec![],
            vec![(1, report(vec![line(2, a), line(3, a), line(8, a), line(9, f)]))],
            vec!["serf sees n8 alive, not known as a member of cluster prod"],
        ),
    ];
    for (case, odd, reports, expected) in cases {
        let mut all = nodes((1..=3).map(well));
        all.extend(odd.into_iter().map(|node| (node.id, node)));
        let sight = sight(&c, &all, &reports.into_iter().collect(), NOW);
        assert_eq!(sight.seen.len(), 3, "{case}");
        assert_eq!(sight.contradictions.len(), expected.len(), "{case}: {:?}", sight.contradictions);
        for (text, expected) in sight.contradictions.iter().zip(expected) {
            assert!(text.starts_with(expected), "{case}: {text}");
        }
    }
}
