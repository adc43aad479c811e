//! Which operators share a thread, and what the edges between the others are.

use flumen_model::config::Configuration;
use flumen_model::job_graph::JobGraph;

use crate::environment::StreamExecutionEnvironment;

/// The graph as text: vertices with their parallelism, then edges by vertex index.
fn shape(options: &[(&str, &str)], program: impl Fn(&StreamExecutionEnvironment)) -> String {
    render(&graph(options, program))
}

fn graph(options: &[(&str, &str)], program: impl Fn(&StreamExecutionEnvironment)) -> JobGraph {
    let mut configuration = Configuration::new();
    options.iter().for_each(|(key, value)| configuration.set(*key, *value));
    let env = StreamExecutionEnvironment::get_with(&configuration).unwrap();
    program(&env);
    env.build("test").unwrap().graph
}

fn render(graph: &JobGraph) -> String {
    let index = |id| graph.vertices.iter().position(|v| v.id == id).unwrap();
    let mut text: Vec<String> = graph.vertices.iter().map(|v| format!("{} x{}", v.name, v.parallelism)).collect();
    for edge in &graph.edges {
        text.push(format!("{} {} {}", index(edge.source), edge.partitioner.ship_strategy(), index(edge.target)));
    }
    text.join("; ")
}

#[test]
fn operators_of_one_parallelism_share_a_thread_up_to_the_key() {
    let word_count = |env: &StreamExecutionEnvironment| {
        env.generate(1, None, |i| (i, i))
            .set_parallelism(2)
            .name("Source")
            .map(|t| t)
            .filter(|_| true)
            .key_by_ref(|t| &t.0)
            .sum(|t| &mut t.1)
            .print()
            .name("Sink");
    };
    let options = [("parallelism.default", "2")];
    assert_eq!(shape(&options, word_count), "Source -> Map -> Filter x2; Keyed Sum -> Sink x2; 0 HASH 1");
    let unchained = [("parallelism.default", "2"), ("pipeline.operator-chaining", "false")];
    assert_eq!(
        shape(&unchained, word_count),
        "Source x2; Map x2; Filter x2; Keyed Sum x2; Sink x2; 0 FORWARD 1; 1 FORWARD 2; 2 HASH 3; 3 FORWARD 4"
    );
}

#[test]
fn a_chain_is_cut_where_the_program_or_the_parallelism_says_so() {
    let three = |cut: fn(crate::DataStream<u64>) -> crate::DataStream<u64>| {
        shape(&[], |env| {
            let a = env.generate(1, None, |i| i).name("A");
            cut(a.map(|i| i).name("B")).map(|i| i).name("C");
        })
    };
    assert_eq!(three(|b| b), "A -> B -> C x1");
    assert_eq!(three(|b| b.start_new_chain()), "A x1; B -> C x1; 0 FORWARD 1");
    assert_eq!(three(|b| b.disable_chaining()), "A x1; B x1; C x1; 0 FORWARD 1; 1 FORWARD 2");
    assert_eq!(three(|b| b.set_parallelism(2)), "A x1; B x2; C x1; 0 REBALANCE 1; 1 REBALANCE 2");
    assert_eq!(three(|b| b.rebalance()), "A -> B x1; C x1; 0 REBALANCE 1");
    assert_eq!(three(|b| b.forward()), "A -> B -> C x1");
}

#[test]
fn a_stream_with_two_uses_and_a_union_has_an_edge_for_each() {
    let text = shape(&[], |env| {
        let a = env.generate(1, None, |i| i).name("A");
        let b = a.clone().map(|i| i).name("B");
        let c = a.clone().broadcast().map(|i| i).name("C");
        a.union(b).union(c).map(|i| i).name("D");
    });
    assert_eq!(text, "A -> B x1; C x1; D x1; 0 BROADCAST 1; 0 FORWARD 2; 0 FORWARD 2; 1 FORWARD 2");
}

#[test]
fn ids_follow_from_the_program_alone_and_a_uid_survives_a_changed_program() {
    let one = |env: &StreamExecutionEnvironment| {
        env.generate(1, None, |i| i).rebalance().map(|i| i).uid("keeps").print();
    };
    let another = |env: &StreamExecutionEnvironment| {
        env.generate(1, None, |i| i).filter(|_| true).rebalance().map(|i| i).uid("keeps").print();
    };
    let (first, again, changed) = (graph(&[], one), graph(&[], one), graph(&[], another));
    assert_eq!(first, again);
    assert_eq!(first.fingerprint(), again.fingerprint());
    assert_ne!(first.fingerprint(), changed.fingerprint());
    assert_eq!(first.vertices[1].id, changed.vertices[1].id, "the vertex with the uid");
}
