//! Who may be taken down, when orders and turns come at once.

use super::*;

#[tokio::test]
async fn of_orders_that_come_at_once_one_is_taken() {
    let fleet = Fleet::new(4, 3).await;
    let (one, two, three) = tokio::join!(
        fleet.order(1, Order::Reload, false),
        fleet.order(2, Order::Reload, false),
        fleet.order(3, Order::Reload, false),
    );
    assert_eq!(one.as_deref(), Ok("draining"));
    for refused in [two, three] {
        let why = refused.expect_err("n1 goes already");
        assert!(why.contains("n1 is busy with: draining") && why.contains("--force"), "{why}");
    }
    for (what, refused) in [
        ("leave", fleet.leave(2, false).await),
        ("another role", fleet.set_role(2, "worker", false).await),
        ("retire", fleet.retire(2, true, false).await.map(drop)),
        ("wipe", fleet.order(2, Order::Wipe, false).await.map(drop)),
    ] {
        assert!(refused.is_err_and(|why| why.contains("n1")), "{what}");
    }
    assert_eq!(
        (fleet.state(2), fleet.place(2).as_str()),
        ("ready", "control member"),
        "nothing is half done"
    );
    assert_eq!(fleet.order(4, Order::Reload, false).await.as_deref(), Ok("draining"), "a worker may");
    // An operator may know better; that it was one is written down.
    assert_eq!(fleet.order(2, Order::Reload, true).await.as_deref(), Ok("draining"));
    assert!(fleet.events().contains("ordered: reload, whatever stands against it"), "{}", fleet.events());
}

#[tokio::test]
async fn an_order_and_a_turn_do_not_both_pass() {
    let mut fleet = Fleet::new(3, 3).await;
    fleet.push("tool", "2", "").await;
    for n in 1..=3 {
        fleet.pin(n, "tool@2").await;
    }
    fleet.look().await;
    // n1 was told to go, and has not said yet that it does.
    let told = fleet.ask(1).await;
    assert!(told.generation.is_some(), "{told:?}");
    let why = fleet.order(2, Order::Reload, false).await.expect_err("n1 is at it");
    assert!(why.contains("n1 has been applying a change"), "{why}");
    fleet.obey(1, told).await;
    fleet.look().await;
    // n2 has its turn by the last look; an order to n3 comes before it asks.
    assert_eq!(fleet.order(3, Order::Reload, false).await.as_deref(), Ok("draining"));
    assert_eq!(fleet.ask(2).await.generation, None, "n3 is down");
    assert_eq!(fleet.jobs(2), 1, "it has what it had");
}

#[tokio::test]
async fn after_a_restart_nobody_passes_for_dead() {
    let mut fleet = Fleet::new(3, 3).await;
    for n in 1..=3 {
        fleet.die(n).await;
    }
    for n in 1..=3 {
        let why = fleet.order(n, Order::Reload, false).await.expect_err("nobody was heard of yet");
        assert!(why.contains("never heard of"), "{why}");
    }
}
