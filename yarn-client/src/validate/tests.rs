use super::*;

fn node(id: &str, memory_mb: u64, vcores: u64, label: &str) -> NodeFacts {
    let labels = vec![label.to_owned()];
    NodeFacts { id: id.into(), memory_mb, used_memory_mb: 0, vcores, used_vcores: 0, labels }
}

fn leaf(name: &str, state: &str, max: f64) -> QueueFacts {
    QueueFacts {
        name: name.into(),
        path: format!("root.{name}"),
        is_leaf: name != "parent",
        state: state.into(),
        max_capacity_percent: Some(max),
        max_memory_mb: None,
    }
}

/// Two nodes of 8192 MB and 8 cores.
fn cluster() -> ClusterFacts {
    ClusterFacts {
        max_memory_mb: Some(8192),
        max_vcores: Some(4),
        min_memory_mb: 128,
        schedules_vcores: false,
        queues: vec![
            leaf("default", "RUNNING", 100.0),
            leaf("half", "RUNNING", 50.0),
            leaf("closed", "STOPPED", 100.0),
            leaf("parent", "RUNNING", 100.0),
        ],
        nodes: vec![node("a:1", 8192, 8, ""), node("b:1", 8192, 8, "")],
    }
}

fn demand(slots: u64) -> Demand {
    Demand {
        spelling: Spelling::Flink,
        queue: None,
        label: None,
        executor_label: None,
        master_mb: 256,
        master_vcores: 1,
        executor_mb: 1024,
        executor_vcores: 1,
        slots,
        slots_per_executor: 1,
    }
}

fn refused(demand: &Demand, cluster: &ClusterFacts) -> String {
    check(demand, cluster).unwrap_err().to_string()
}

#[test]
fn a_job_that_fits_is_accepted_up_to_the_last_container() {
    // 8 TaskExecutors on one node, 7 beside the ApplicationMaster on the other.
    assert_eq!(check(&demand(15), &cluster()), Ok(vec![]));
    assert!(check(&demand(16), &cluster()).is_err());
}

#[test]
fn a_job_larger_than_the_cluster_is_told_what_would_fit() {
    let text = refused(&demand(40), &cluster());
    for part in [
        "40 TaskManagers of 1024 MB",
        "usable nodes: 2) has 16384 MB and 16 virtual cores",
        "room for 15",
        "-p 15",
        "-ys 3",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let Err(Refusal::Insufficient(what)) = check(&demand(40), &cluster()) else { panic!() };
    let smaller = Demand { executor_mb: what.executor_mb.unwrap(), ..demand(40) };
    assert_eq!(check(&smaller, &cluster()), Ok(vec![]), "the suggested -ytm fits");
    let larger = Demand { executor_mb: what.executor_mb.unwrap() + 1, ..demand(40) };
    assert!(check(&larger, &cluster()).is_err(), "and it is the largest");
    let more_slots = Demand { slots_per_executor: what.slots_per_executor.unwrap(), ..demand(40) };
    assert_eq!(check(&more_slots, &cluster()), Ok(vec![]), "the suggested -ys fits");
    assert_eq!(
        check(&Demand { slots: what.parallelism, ..demand(40) }, &cluster()),
        Ok(vec![]),
        "the suggested -p fits"
    );
}

#[test]
fn advice_is_spelled_as_the_command_spells_it() {
    for (spelling, memory, master, slots) in [
        (Spelling::Flink, "lower it with -ytm", "lower it with -yjm", ["this job:", "(-p 15)", "(-ytm ", "(-ys 3)"]),
        (
            Spelling::YarnSession,
            "lower it with -tm",
            "lower it with -jm",
            ["this session:", "(-D slotmanager.number-of-slots.min=15)", "(-tm ", "(-s 3)"],
        ),
    ] {
        let demand = |slots| Demand { spelling, ..demand(slots) };
        assert!(refused(&Demand { executor_mb: 9000, ..demand(1) }, &cluster()).ends_with(memory));
        assert!(refused(&Demand { master_mb: 9000, ..demand(1) }, &cluster()).ends_with(master));
        let small = ClusterFacts { nodes: vec![node("a:1", 200, 2, "")], ..cluster() };
        assert!(refused(&demand(1), &small).ends_with(master));
        let text = refused(&demand(40), &cluster());
        assert!(slots.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[test]
fn queues_are_checked_by_name_kind_and_state() {
    for (queue, part) in [
        ("nope", "queue `nope` does not exist; queues that take applications: `root.default`, `root.half`"),
        ("closed", "is STOPPED"),
        ("root.parent", "takes no applications itself"),
    ] {
        let text = refused(&Demand { queue: Some(queue.into()), ..demand(1) }, &cluster());
        assert!(text.contains(part), "{text}");
    }
    for queue in ["default", "root.default", "half"] {
        assert_eq!(check(&Demand { queue: Some(queue.into()), ..demand(1) }, &cluster()), Ok(vec![]), "{queue}");
    }
}

#[test]
fn a_queue_that_may_not_use_the_whole_cluster_bounds_the_job() {
    let half = Demand { queue: Some("half".into()), ..demand(7) };
    assert_eq!(check(&half, &cluster()), Ok(vec![]));
    let text = refused(&Demand { slots: 8, ..half }, &cluster());
    assert!(text.contains("of which queue `root.half` may use 8192 MB") && text.contains("-p 7"), "{text}");
}

#[test]
fn containers_above_the_maximum_and_above_every_node_are_refused() {
    let text = refused(&Demand { executor_mb: 9000, ..demand(1) }, &cluster());
    assert!(
        text.contains("taskmanager asks for 9000 MB") && text.contains("at most 8192") && text.contains("-ytm"),
        "{text}"
    );
    let text = refused(&Demand { master_mb: 9000, ..demand(1) }, &cluster());
    assert!(text.contains("jobmanager") && text.contains("-yjm"), "{text}");
    let text = refused(&Demand { executor_vcores: 5, ..demand(1) }, &cluster());
    assert!(text.contains("5 virtual cores") && text.contains("at most 4"), "{text}");
    let small = ClusterFacts { nodes: vec![node("a:1", 2048, 2, "")], ..cluster() };
    let text = refused(&Demand { executor_mb: 4096, ..demand(1) }, &small);
    assert!(text.contains("fits on no node") && text.contains("a:1, has 2048 MB"), "{text}");
}

#[test]
fn virtual_cores_bound_the_job_only_where_the_scheduler_counts_them() {
    let many = Demand { executor_mb: 256, ..demand(30) };
    assert_eq!(check(&many, &cluster()), Ok(vec![]));
    let counting = ClusterFacts { schedules_vcores: true, ..cluster() };
    assert!(refused(&many, &counting).contains("room for 15"));
    assert_eq!(check(&Demand { slots: 15, ..many }, &counting), Ok(vec![]));
}

#[test]
fn labels_choose_the_nodes() {
    let labelled = ClusterFacts { nodes: vec![node("a:1", 8192, 8, "gpu"), node("b:1", 8192, 8, "")], ..cluster() };
    assert_eq!(check(&demand(7), &labelled), Ok(vec![]));
    assert!(check(&demand(8), &labelled).is_err());
    let apart = Demand { executor_label: Some("gpu".into()), ..demand(8) };
    assert_eq!(check(&apart, &labelled), Ok(vec![]), "the ApplicationMaster stands elsewhere");
    let text = refused(&Demand { label: Some("fpga".into()), ..demand(1) }, &labelled);
    assert!(text.contains("`fpga`") && text.contains("`gpu`"), "{text}");
    assert!(refused(&demand(1), &ClusterFacts { nodes: vec![], ..cluster() }).contains("no running NodeManager"));
}

#[test]
fn a_busy_cluster_makes_a_note_and_no_refusal() {
    let mut busy = cluster();
    busy.nodes[0].used_memory_mb = 8192;
    assert_eq!(check(&demand(7), &busy), Ok(vec![]));
    let notes = check(&demand(10), &busy).unwrap();
    assert!(notes[0].contains("room for 7 of the 10 TaskManagers"), "{notes:?}");
}

#[test]
fn requests_are_rounded_up_as_the_scheduler_does() {
    let coarse = ClusterFacts { min_memory_mb: 1024, ..cluster() };
    assert_eq!(check(&Demand { executor_mb: 1025, ..demand(7) }, &coarse), Ok(vec![]));
    assert!(check(&Demand { executor_mb: 1025, ..demand(8) }, &coarse).is_err());
}

#[test]
fn what_a_waiting_job_lacks_is_named() {
    let mut busy = ClusterFacts { schedules_vcores: true, ..cluster() };
    assert_eq!(shortage(&demand(1), &busy), None, "nothing runs there");
    busy.nodes[0].used_vcores = 8;
    assert_eq!(shortage(&demand(1), &busy), None, "the other node has room");
    busy.nodes[1].used_vcores = 8;
    busy.nodes[1].used_memory_mb = 1000;
    let cores = "a TaskManager asks for 1024 MB and 1 virtual cores, and no node has that free (a:1 has 8192 MB and 0 virtual \
                 cores of 8192 MB and 8 virtual cores, b:1 has 7192 MB and 0 virtual cores of 8192 MB and 8 virtual cores)";
    assert_eq!(shortage(&demand(1), &busy).unwrap(), cores);
    busy.schedules_vcores = false;
    let doubted = format!("{cores}; that matters if the scheduler counts cores");
    assert_eq!(shortage(&demand(1), &busy).unwrap(), doubted, "it is not told whether they are counted");
    busy.nodes.iter_mut().for_each(|node| node.used_memory_mb = 7500);
    busy.nodes.extend([node("c:1", 100, 1, ""), node("d:1", 50, 1, "")]);
    let memory = shortage(&demand(1), &busy).unwrap();
    assert!(
        memory.starts_with("a TaskManager asks for 1024 MB, and no node has that free (a:1 has 692 MB of 8192"),
        "{memory}"
    );
    assert!(memory.ends_with("c:1 has 100 MB of 100 MB, others have less memory: 1)"), "{memory}");
}
