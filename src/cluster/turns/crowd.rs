//! In each group one tries a change first; then, of those that are no control members, a few at once.

use std::collections::BTreeMap;

use super::super::duration::listed;
use super::super::node::NodeView;
use super::Limits;

/// Who of each group is at what.
pub struct Crowd<'a> {
    limits: Limits,
    groups: BTreeMap<&'a str, Group<'a>>,
    tries: BTreeMap<(&'a str, &'a str), Tries<'a>>,
}

/// A group, without its control members.
#[derive(Default)]
struct Group<'a> {
    size: u32,
    /// Who is at a change now.
    busy: Vec<&'a str>,
}

/// A change in a group.
#[derive(Default)]
struct Tries<'a> {
    /// What its control members did with it.
    control: Side<'a>,
    /// What the others did.
    others: Side<'a>,
    /// Which of the others have it and are not well.
    ailing: Vec<&'a str>,
    /// Which of the others have it and are not reachable.
    away: Vec<&'a str>,
}

/// How a change goes, of control members or of the others.
#[derive(Default)]
struct Side<'a> {
    /// Whether somebody has it and is well.
    proved: bool,
    /// Who is at it.
    at_it: Vec<&'a str>,
}

impl<'a> Tries<'a> {
    fn of(&mut self, control: bool) -> &mut Side<'a> {
        if control { &mut self.control } else { &mut self.others }
    }
}

impl<'a> Crowd<'a> {
    /// Of these nodes; `control` tells who is a control member.
    pub fn new(
        nodes: impl Iterator<Item = &'a NodeView>,
        control: impl Fn(&NodeView) -> bool,
        limits: Limits,
    ) -> Self {
        let mut crowd = Self { limits, groups: BTreeMap::new(), tries: BTreeMap::new() };
        for node in nodes {
            let control = control(node);
            if !control {
                let group = crowd.groups.entry(&node.group).or_default();
                group.size = group.size.saturating_add(1);
            }
            if node.applying_since.is_some() && node.reachable {
                crowd.goes(node, control);
            }
            if !node.first_time() {
                let tries = crowd.tries.entry((&node.group, &node.current_change)).or_default();
                match (node.reachable, node.healthy) {
                    (true, true) => tries.of(control).proved = true,
                    // Of ailing control members the quorum guard takes care.
                    _ if control => {}
                    (false, _) => tries.away.push(&node.name),
                    (true, false) if node.applying_since.is_none() => tries.ailing.push(&node.name),
                    (true, false) => {}
                }
            }
        }
        crowd
    }

    /// Writes down that `node` goes.
    pub fn goes(&mut self, node: &'a NodeView, control: bool) {
        if !control {
            self.groups.entry(&node.group).or_default().busy.push(&node.name);
        }
        self.tries.entry((&node.group, &node.change)).or_default().of(control).at_it.push(&node.name);
    }

    /// Whether nobody else of the group of `node`, a control member, is just trying what it would be at.
    pub fn control_may_go(&self, node: &NodeView, follows: bool) -> Result<(), String> {
        match self.tries.get(&(node.group.as_str(), node.change.as_str())) {
            Some(tries) if !follows && !tries.control.proved => alone(&tries.others),
            _ => Ok(()),
        }
    }

    /// Whether `node` may go. `follows`: it has the change and follows its surroundings only. `careful`: one at a time.
    pub fn may_go(&self, node: &NodeView, follows: bool, careful: bool) -> Result<(), String> {
        let empty = (Group::default(), Tries::default());
        let group = self.groups.get(node.group.as_str()).unwrap_or(&empty.0);
        let tries = self.tries.get(&(node.group.as_str(), node.change.as_str())).unwrap_or(&empty.1);
        if !tries.others.proved && !follows {
            first(tries)?;
        }
        // Its own place, where it ails itself, is not in its way.
        let ailing = || tries.ailing.iter().filter(|name| **name != node.name);
        let taken: Vec<&str> = group.busy.iter().chain(ailing()).copied().collect();
        let most = if careful { 1 } else { self.most(group, node) };
        if taken.len() < usize::try_from(most).unwrap_or(usize::MAX) {
            return Ok(());
        }
        let ailing = ailing().count();
        let unwell =
            if ailing == 0 { String::new() } else { format!(" ({ailing} of them not healthy with it)") };
        let why = if careful { ", as it failed elsewhere" } else { "" };
        Err(format!("waits for {}{unwell}: of its group, {most} at once{why}", listed(&taken)))
    }

    /// How many may be away from work at once.
    fn most(&self, group: &Group, node: &NodeView) -> u32 {
        let at_once = self.limits.at_once.max(1);
        if node.first_time() {
            return at_once;
        }
        let part = u64::from(group.size).saturating_mul(u64::from(self.limits.percent)).div_ceil(100);
        at_once.min(u32::try_from(part).unwrap_or(u32::MAX)).max(1)
    }
}

/// Whether no one of these is just trying what nobody of them has.
fn alone(side: &Side) -> Result<(), String> {
    if side.proved || side.at_it.is_empty() {
        return Ok(());
    }
    Err(format!("waits for {}, the first of its group to try it", listed(&side.at_it)))
}

/// Whether one may be the first of its group, control members aside, to try it.
fn first(tries: &Tries) -> Result<(), String> {
    alone(&tries.control)?;
    alone(&tries.others)?;
    if !tries.ailing.is_empty() {
        Err(format!("waits: {} got it first and is not healthy with it", listed(&tries.ailing)))
    } else if tries.away.len() > 1 {
        let away = listed(&tries.away);
        Err(format!("waits: {away} got it and are not reachable, and nobody else has it; bring one back"))
    } else {
        Ok(())
    }
}
