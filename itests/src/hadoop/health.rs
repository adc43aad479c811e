//! Whether a cluster works, asked of each daemon over its own protocol.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::ports::{MasterPorts, NodePorts};
use super::site::{HOST, node_host};
use crate::http::get_json;

/// Which daemon isn't ready, and what it says.
#[derive(Debug)]
pub(super) struct NotReady(pub(super) String);

/// Whether every daemon of the cluster works together with the others.
///
/// NameNode and ResourceManager believe in a dead DataNode or NodeManager for ten minutes, so each of these is asked too
/// whether it has found its master since it started.
///
/// The NameNode and the ResourceManager that are asked are the active ones.
pub(super) fn check(
    nodes: &[NodePorts],
    name_node: &MasterPorts,
    resource_manager: &MasterPorts,
) -> Result<(), NotReady> {
    check_name_node(name_node.nn_http, nodes.len())?;
    for (index, node) in nodes.iter().enumerate() {
        data_node(index + 1, node)?;
    }
    let active = active_nodes(resource_manager.rm_http)?;
    for (index, node) in nodes.iter().enumerate() {
        node_manager(index + 1, node, &active)?;
    }
    if active.len() != nodes.len() {
        return Err(NotReady(format!("ResourceManager has {} of {} nodes", active.len(), nodes.len())));
    }
    Ok(())
}

/// Whether it is the active one of two.
pub(super) fn is_active_name_node(ports: &MasterPorts) -> bool {
    bean("NameNode", HOST, ports.nn_http, "NameNodeStatus", "State").is_ok_and(|state| state == "active")
}

/// Whether it is the active one of two.
pub(super) fn is_active_resource_manager(ports: &MasterPorts) -> bool {
    let url = format!("http://{HOST}:{}/ws/v1/cluster/info", ports.rm_http);
    ask("ResourceManager", &url).is_ok_and(|answer| answer["clusterInfo"]["haState"] == "ACTIVE")
}

fn check_name_node(port: u16, nodes: usize) -> Result<(), NotReady> {
    let safe_mode = bean("NameNode", HOST, port, "NameNodeInfo", "Safemode")?;
    if safe_mode.as_str() != Some("") {
        return Err(NotReady(format!("NameNode is in safe mode: {safe_mode}")));
    }
    let live = bean("NameNode", HOST, port, "FSNamesystemState", "NumLiveDataNodes")?;
    if live.as_u64() != Some(nodes as u64) {
        return Err(NotReady(format!("NameNode has {live} of {nodes} DataNodes")));
    }
    check_block_reports(port)
}

/// Whether the NameNode has heard from each DataNode since its start which blocks that has: some seconds after the DataNode itself is
/// there. For a few blocks it doesn't wait in safe mode.
fn check_block_reports(port: u16) -> Result<(), NotReady> {
    let nodes = bean("NameNode", HOST, port, "NameNodeInfo", "LiveNodes")?;
    let started = bean("NameNode", HOST, port, "NameNodeInfo", "NNStartedTimeInMillis")?;
    let parsed = nodes.as_str().and_then(|nodes| serde_json::from_str::<HashMap<String, Value>>(nodes).ok());
    let (Some(parsed), Some(started)) = (parsed, started.as_u64()) else {
        return Err(NotReady(format!("NameNode, started at {started}, does not say which DataNodes it has: {nodes}")));
    };
    let running = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_millis(started));
    let minutes = running.unwrap_or_default().as_secs() / 60;
    // In minutes; before the first one, since the machine was started.
    match parsed.iter().find(|(_, node)| node["lastBlockReport"].as_u64().is_none_or(|ago| ago > minutes)) {
        Some((name, _)) => Err(NotReady(format!("DataNode {name} has not told the NameNode its blocks yet"))),
        None => Ok(()),
    }
}

fn data_node(number: usize, ports: &NodePorts) -> Result<(), NotReady> {
    let actors = bean("DataNode", HOST, ports.dn_http, "DataNodeInfo", "BPServiceActorInfo")?;
    if actors.as_str().is_some_and(|actors| actors.contains("\"ActorState\":\"RUNNING\"")) {
        return Ok(());
    }
    Err(NotReady(format!("DataNode {number} does not serve the NameNode yet: {actors}")))
}

/// The nodes that the ResourceManager takes for alive.
fn active_nodes(port: u16) -> Result<Vec<Value>, NotReady> {
    let url = format!("http://{HOST}:{port}/ws/v1/cluster/nodes?states=RUNNING");
    let mut answer = ask("ResourceManager", &url)?;
    match answer["nodes"]["node"].take() {
        Value::Array(nodes) => Ok(nodes),
        _ => Ok(Vec::new()),
    }
}

fn node_manager(number: usize, ports: &NodePorts, active: &[Value]) -> Result<(), NotReady> {
    let who = format!("NodeManager {number}");
    let info = ask(&who, &format!("http://{}:{}/ws/v1/node/info", node_host(number), ports.nm_http))?;
    let port = format!(":{}", ports.nm_rpc);
    let node = active.iter().find(|node| node["id"].as_str().is_some_and(|id| id.ends_with(&port)));
    let reported = node.and_then(|node| node["lastHealthUpdate"].as_u64()).unwrap_or(0);
    if reported < info["nodeInfo"]["nmStartupTime"].as_u64().unwrap_or(1) {
        return Err(NotReady(format!("{who} has not reported to the ResourceManager yet")));
    }
    Ok(())
}

/// An attribute of a bean that a daemon shows through JMX.
fn bean(service: &str, host: &str, port: u16, name: &str, attribute: &str) -> Result<Value, NotReady> {
    let url = format!("http://{host}:{port}/jmx?qry=Hadoop:service={service},name={name}");
    // No bean yet is no answer yet.
    let bean = ask(service, &url)?["beans"].get(0).map(|bean| bean[attribute].clone());
    bean.ok_or_else(|| NotReady(format!("{service} has no {name} yet")))
}

fn ask(who: &str, url: &str) -> Result<Value, NotReady> {
    get_json(url).map_err(|error| NotReady(format!("{who} does not answer: {error:#}")))
}
