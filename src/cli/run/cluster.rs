//! Does `firstlight cluster …`.

use hyper::Method;

use crate::appliance::{ClusterView, InitCluster, JoinCluster, LeaveCluster, ServiceView};
use crate::cluster::MemberState;
use crate::model::{ClusterName, RoleName};

use super::super::CliError;
use super::super::args::Cluster;
use super::super::client::{Client, segment};
use super::super::show::{answer, block, columns, or_dash};
use super::Context;

pub async fn cluster(client: &Client, command: Cluster, context: Context) -> Result<(), CliError> {
    match command {
        Cluster::Init { cluster, seed, rules } => {
            let init = InitCluster { name: cluster, seed, rules };
            let view: ClusterView = client.call(Method::POST, "/clusters", &init).await?;
            let seed = view.seed.map_or_else(String::new, |seed| format!("; {seed} forms it"));
            context.done(&format!("made cluster {}{seed}", view.name))
        }
        Cluster::List => {
            let clusters: Vec<ClusterView> = client.get("/clusters").await?;
            answer(context.output, &clusters, |clusters| {
                let rows = clusters.iter().map(|cluster| {
                    let formed = if cluster.formed { "formed" } else { "forming" };
                    let in_it = cluster.members.iter().filter(|member| member.state == MemberState::Member);
                    let members = format!("{}/{}", in_it.count(), cluster.members.len());
                    [cluster.name.clone(), formed.into(), members, or_dash(cluster.seed.as_ref())]
                });
                columns(["CLUSTER", "STATE", "MEMBERS", "SEED"], rows)
            })
        }
        Cluster::Show { cluster } => {
            let view: ClusterView = client.get(&path(&cluster, "")).await?;
            answer(context.output, &view, show)
        }
        Cluster::Services { cluster } => {
            let services: Vec<ServiceView> = client.get(&path(&cluster, "/services")).await?;
            answer(context.output, &services, |services| {
                let rows = services.iter().map(|service| {
                    [
                        service.name.clone(),
                        format!("{}:{}/{}", service.address, service.port, service.protocol),
                        service.node.to_string(),
                        or_dash(service.role.as_ref()),
                        service.srv.clone(),
                    ]
                });
                columns(["SERVICE", "WHERE", "NODE", "ROLE", "SRV"], rows)
            })
        }
        Cluster::Join { cluster, nodes, role } => {
            let joining = JoinCluster { nodes, role };
            let view: ClusterView = client.call(Method::POST, &path(&cluster, "/join"), &joining).await?;
            context.done(&format!("cluster {cluster} has {} members", view.members.len()))
        }
        Cluster::Role { cluster, node, role, force } => {
            leave(client, &cluster, &node, Some(role.clone()), force).await?;
            context.done(&format!("{node} is to be {role} in cluster {cluster}"))
        }
        Cluster::Leave { cluster, node, force } => {
            leave(client, &cluster, &node, None, force).await?;
            context.done(&format!("{node} is to leave cluster {cluster}"))
        }
        Cluster::Remove { cluster } => {
            client.order(Method::DELETE, &path(&cluster, "")).await?;
            context.done(&format!("removed cluster {cluster}"))
        }
    }
}

/// Has a member leave, or change its role.
pub async fn leave(
    client: &Client,
    cluster: &ClusterName,
    node: &str,
    role: Option<RoleName>,
    force: bool,
) -> Result<ClusterView, CliError> {
    let leaving = LeaveCluster { node: node.into(), role, force };
    Ok(client.call(Method::POST, &path(cluster, "/leave"), &leaving).await?)
}

fn path(cluster: &ClusterName, rest: &str) -> String {
    format!("/clusters/{}{rest}", segment(cluster))
}

fn show(view: &ClusterView) -> String {
    let rules = view.rules.iter().map(|rule| {
        let count = rule.count.map_or_else(String::new, |count| format!("={count}"));
        let group = rule.group.as_deref().map_or_else(String::new, |group| format!(":{group}"));
        format!("{}{count}{group}", rule.role)
    });
    let head = block(&[
        ("cluster", view.name.clone()),
        ("formed", if view.formed { "yes" } else { "not yet" }.into()),
        ("seed", or_dash(view.seed.as_ref())),
        ("rules", rules.collect::<Vec<_>>().join(", ")),
    ]);
    let rows = view.members.iter().map(|member| {
        let state = match member.state {
            MemberState::Joining => "joining",
            MemberState::Member => "member",
            MemberState::Leaving => "leaving",
        };
        let next = member.next_role.as_deref().map_or_else(String::new, |next| format!(" → {next}"));
        [
            member.index.to_string(),
            member.node.to_string(),
            member.address.clone(),
            format!("{}{next}", or_dash(member.role.as_ref())),
            state.into(),
            member.seen_by.map_or_else(|| "-".into(), |(alive, all)| format!("{alive}/{all}")),
            member.trouble.clone(),
        ]
    });
    let contradictions: Vec<String> = view.contradictions.iter().map(|one| format!("\n! {one}")).collect();
    let names = ["INDEX", "NODE", "ADDRESS", "ROLE", "STATE", "SERF", "TROUBLE"];
    format!("{head}\n{}{contradictions}", columns(names, rows), contradictions = contradictions.concat())
}
