//! Clusters: who is a member, in which role, and who may be disturbed when.
//!
//! Rules only: no I/O and no clock; time comes as an argument (milliseconds since 1970). Read in this order:
//! [`members`] (what a cluster is), [`node`] (what the rules must know of a node), [`roles`], [`quorum`] (who may be
//! taken down), [`turns`] (who may change now), [`leave`], [`serf`] and [`sight`] (who sees whom), [`services`].

pub mod duration;
pub mod leave;
pub mod members;
pub mod node;
pub mod quorum;
pub mod roles;
pub mod serf;
pub mod services;
pub mod sight;
pub mod stops;
pub mod turns;

pub use leave::{Step, change_role, leave, takes_time, ways_out};
pub use members::{CONTROL, Cluster, Member, MemberError, MemberState, RoleRule, WORKER, join};
pub use node::{NodeView, Nodes, Offer, Protocol, Tried, Trouble};
pub use quorum::{Disruption, Refusal, may_take_down};
pub use roles::{Given, assign, give_role};
pub use services::{Service, services};
pub use turns::{Decision, Fleet, Limits, Turn, control_may_go, turns};
