//! Nodes that leave their cluster, or their role there: told to, wiped, retired, or dead.

use super::*;

#[tokio::test]
async fn a_retired_node_leaves_its_cluster_before_its_disks_are_erased() {
    let mut fleet = Fleet::new(4, 3).await;
    fleet.hosts.get_mut(&3).expect("n3").stuck = true;
    assert_eq!(fleet.retire(3, true, false).await.as_deref(), Ok("retiring"));
    assert_eq!(fleet.place(3), "control leaving");
    let orders = fleet.ask(3).await;
    assert!(orders.leave && !orders.force && orders.instruction == Instruction::Drain, "{orders:?}");
    fleet.rounds().await;
    assert_eq!(
        (fleet.state(3), fleet.place(3).as_str()),
        ("retiring", "control leaving"),
        "its bundles stay"
    );
    assert!(!fleet.events().contains("off the lists"), "it lives: nobody takes it off");
    fleet.hosts.get_mut(&3).expect("n3").stuck = false;
    fleet.rounds().await;
    assert_eq!((fleet.state(3), fleet.place(3).as_str()), ("retiring", ""), "it has left, and restarts");
    assert!(fleet.events().contains("n3 has left"), "{}", fleet.events());
    fleet.appliance.wiped(caller(3), Vec::new()).await.expect("its disks are erased");
    assert_eq!(fleet.state(3), "retired");
    assert!(fleet.order(2, Order::Reload, false).await.is_ok(), "nobody waits for it");
}

#[tokio::test]
async fn a_node_that_is_wiped_leaves_its_cluster_and_stays() {
    let mut fleet = Fleet::new(4, 3).await;
    assert_eq!(fleet.order(3, Order::Wipe, false).await.as_deref(), Ok("draining"));
    assert!(fleet.ask(3).await.leave, "its bundles take their leave");
    fleet.rounds().await;
    assert_eq!((fleet.state(3), fleet.place(3).as_str()), ("reloading", ""));
    fleet.appliance.wiped(caller(3), Vec::new()).await.expect("its disks are erased");
    assert_eq!(fleet.state(3), "enrolled");
}

#[tokio::test]
async fn a_wipe_that_is_taken_back() {
    for (rule, state, taken_back, place) in [
        ("it gives up its work: too late", State::Ready, false, "control leaving"),
        (
            "it was to get the order with its next boot: it leaves, and may join again",
            State::Booting,
            true,
            "",
        ),
    ] {
        let mut fleet = Fleet::new(4, 3).await;
        let mut node = fleet.appliance.view().node(NodeId(3)).expect("n3").clone();
        node.state = state;
        fleet.put(Change::put_node(node)).await;
        fleet.look().await;
        assert!(fleet.order(3, Order::Wipe, false).await.is_ok(), "{rule}");
        let back = fleet.appliance.boot_once(selector(3), BootOnce { what: None }, actor()).await;
        assert_eq!(back.is_ok(), taken_back, "{rule}: {back:?}");
        let told = fleet.events().contains("it leaves cluster prod all the same");
        assert_eq!((fleet.place(3).as_str(), told), ("control leaving", taken_back), "{rule}");
        fleet.hosts.get_mut(&3).expect("n3").stuck = !taken_back;
        fleet.rounds().await;
        assert_eq!(fleet.place(3), place, "{rule}");
    }
}

#[tokio::test]
async fn a_host_whose_disks_stay_cleans_up_before_it_is_retired() {
    let mut fleet = Fleet::new(4, 3).await;
    assert_eq!(fleet.retire(4, false, false).await.as_deref(), Ok("retiring"));
    let orders = fleet.ask(4).await;
    assert!(orders.leave && orders.instruction == Instruction::Drain, "{orders:?}");
    fleet.obey(4, orders).await;
    let last = fleet.ask(4).await;
    assert_eq!((last.state.as_str(), last.instruction), ("retired", Instruction::Continue));
    assert_eq!((fleet.state(4), fleet.place(4).as_str()), ("retired", ""));
    // A bundle that does not take its leave holds it up, unless an operator says so.
    let mut fleet = Fleet::new(4, 3).await;
    fleet.hosts.get_mut(&4).expect("n4").stuck = true;
    assert_eq!(fleet.retire(4, false, false).await.as_deref(), Ok("retiring"));
    for _ in 0..3 {
        let orders = fleet.ask(4).await;
        fleet.obey(4, orders).await;
    }
    assert_eq!(fleet.state(4), "retiring");
    assert_eq!(fleet.retire(4, false, true).await.as_deref(), Ok("retired"));
}

#[tokio::test]
async fn the_dead_are_taken_off_by_another_and_hold_nobody_up() {
    let mut fleet = Fleet::new(4, 3).await;
    fleet.die(3).await;
    assert_eq!(fleet.retire(3, false, false).await.as_deref(), Ok("retired"));
    assert_eq!(fleet.place(3), "control leaving", "others still count on it");
    fleet.hosts.get_mut(&3).expect("n3").dead = true;
    fleet.rounds().await;
    assert_eq!(fleet.place(3), "");
    assert!(fleet.events().contains("took n3 off the lists"), "{}", fleet.events());
    assert!(fleet.order(2, Order::Reload, false).await.is_ok(), "nobody waits for it");
}

#[tokio::test]
async fn with_force_one_try_is_enough() {
    let mut fleet = Fleet::new(4, 3).await;
    for n in [1, 2] {
        fleet.hosts.get_mut(&n).expect("a host").stuck = true;
    }
    fleet.die(3).await;
    fleet.leave(3, false).await.expect("a majority is there");
    fleet.rounds().await;
    assert_eq!(fleet.place(3), "control leaving", "it is on their lists");
    fleet.leave(3, true).await.expect("an operator says so");
    fleet.rounds().await;
    assert_eq!(fleet.place(3), "");
    assert!(fleet.events().contains("it is forgotten all the same"), "{}", fleet.events());
}

#[tokio::test]
async fn who_cannot_leave_says_so_and_does_not_try_without_end() {
    let mut fleet = Fleet::new(4, 3).await;
    fleet.hosts.get_mut(&4).expect("n4").stuck = true;
    let before = fleet.jobs(4);
    fleet.leave(4, false).await.expect("a worker may");
    fleet.rounds().await;
    assert_eq!(fleet.jobs(4), before + 1, "once, and then not for a while");
    let trouble = fleet.member(4).expect("it is in").trouble;
    assert!(trouble.contains("could not leave") && trouble.contains("nobody answers"), "{trouble}");
    fleet.leave(4, true).await.expect("an operator says so");
    fleet.rounds().await;
    assert_eq!(fleet.place(4), "");
}

#[tokio::test]
async fn a_control_member_becomes_a_worker_by_safe_steps_and_the_last_one_does_not() {
    let mut fleet = Fleet::new(3, 3).await;
    fleet.set_role(3, "worker", false).await.expect("two others are up");
    assert_eq!(fleet.place(3), "control leaving");
    let why = fleet.set_role(2, "worker", false).await.expect_err("one at a time");
    assert!(why.contains("n3"), "{why}");
    fleet.look().await;
    let orders = fleet.ask(3).await;
    let generation = orders.generation.clone().expect("its turn");
    let desired = fleet.appliance.desired_of(caller(3), &generation).expect("a generation");
    assert_eq!(desired.names(), ["tool@1"], "what has to be left goes first");
    fleet.obey(3, orders).await;
    fleet.rounds().await;
    assert_eq!(fleet.place(3), "worker member");
    assert_eq!(fleet.hosts[&3].applied.bundles, ["store@1", "tool@1"]);
    // Of two, one may go while both are well; then there is one, and what the cluster knows is there only.
    fleet.set_role(2, "worker", false).await.expect("both are well");
    fleet.rounds().await;
    let why = fleet.set_role(1, "worker", false).await.expect_err("the last one");
    assert!(why.contains("the only control member"), "{why}");
    fleet.set_role(1, "worker", true).await.expect("an operator says so");
    assert!(fleet.events().contains("n1 is to be worker, whatever stands against it"));
    // And back.
    fleet.rounds().await;
    fleet.set_role(2, "control", false).await.expect("a worker may");
    fleet.rounds().await;
    assert_eq!(fleet.place(2), "control member");
}

#[tokio::test]
async fn what_is_set_of_a_node_is_set_as_a_whole_or_not_at_all() {
    let fleet = Fleet::new(4, 3).await;
    for (what, name, group, disk) in [
        ("a name that is taken", Some("n1"), None, None),
        ("a group that is not there", None, Some("nowhere"), None),
        ("a rule that is none", None, None, Some("the third from the left")),
    ] {
        let change = NodeChange {
            name: name.map(|name| name.parse().expect("a name")),
            group: group.map(|group| group.parse().expect("a name")),
            role: Some("worker".into()),
            disk: disk.map(str::to_owned),
            ..NodeChange::default()
        };
        let set = fleet.appliance.set_node(selector(3), change, actor()).await;
        assert!(set.is_err(), "{what}");
        assert_eq!(fleet.place(3), "control member", "{what}: its role is as it was");
    }
}
