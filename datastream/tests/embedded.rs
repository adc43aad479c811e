//! Whole programs in the embedded cluster.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use flumen::{Collector, Configuration, DataStream, Error, RuntimeMode, StreamExecutionEnvironment};

fn env(options: &[(&str, &str)]) -> StreamExecutionEnvironment {
    let mut configuration = Configuration::new();
    for (key, value) in options {
        configuration.set(*key, *value);
    }
    StreamExecutionEnvironment::get_with(&configuration).unwrap()
}

/// Runs the program and gives back what its last stream had, in any order.
fn collect<T: flumen::Data + Ord>(env: &StreamExecutionEnvironment, stream: DataStream<T>) -> Result<Vec<T>, Error> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    stream.map(move |record| sink.lock().unwrap().push(record));
    env.execute("test")?;
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort();
    Ok(seen)
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn words(line: String, out: &mut Collector<(String, u64)>) {
    line.split_whitespace().for_each(|word| out.collect((word.to_owned(), 1)));
}

#[test]
fn every_line_is_read_once_however_the_ranges_cut_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let long = "x".repeat(5000);
    let content = format!("first\r\n\nüñí → 😀\n{long}\nlast but one\n\n\r\nno line end ✓");
    let file = directory.path().join("in.txt");
    std::fs::write(&file, &content).unwrap();
    let mut expected: Vec<String> = content.lines().map(str::to_owned).collect();
    expected.sort();
    for split_bytes in ["1", "2", "3", "7", "64", "4096", "1m"] {
        let env = env(&[("source.file.split.size", split_bytes)]);
        env.set_parallelism(3);
        let lines = env.read_text_file(&text(&file)).unwrap();
        assert_eq!(collect(&env, lines).unwrap(), expected, "splits of {split_bytes} bytes");
    }
}

#[test]
fn directories_and_patterns_are_read_without_hidden_files() {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in
        [("a.txt", "a\n"), ("b.txt", "b\n"), ("c.log", "c\n"), ("_d.txt", "d\n"), (".e.txt", "e\n"), ("empty", "")]
    {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    for (input, expected) in
        [("", vec!["a", "b", "c"]), ("/*.txt", vec!["a", "b"]), ("/_d.txt", vec!["d"]), ("/{a,c}.*", vec!["a", "c"])]
    {
        let env = env(&[]);
        let lines = env.read_text_file(&format!("{}{input}", text(directory.path()))).unwrap();
        assert_eq!(collect(&env, lines).unwrap(), expected, "{input}");
    }
}

#[test]
fn batch_execution_emits_each_key_once_and_streaming_on_every_record() {
    let lines = || ["to be or", "not to be", "to"].map(str::to_owned);
    for parallelism in [1, 3] {
        let env = env(&[]);
        env.set_parallelism(parallelism);
        env.set_runtime_mode(RuntimeMode::Batch);
        let counts = env.from_elements(lines()).rebalance().flat_map(words).key_by(|t| t.0.clone()).sum(|t| &mut t.1);
        let expected = [("be", 2), ("not", 1), ("or", 1), ("to", 3)].map(|(w, n)| (w.to_owned(), n));
        assert_eq!(collect(&env, counts).unwrap(), expected);

        env.set_runtime_mode(RuntimeMode::Streaming);
        env.set_parallelism(parallelism);
        let counts = env.from_elements(lines()).rebalance().flat_map(words).key_by_ref(|t| &t.0).sum(|t| &mut t.1);
        let expected = [("be", 1), ("be", 2), ("not", 1), ("or", 1), ("to", 1), ("to", 2), ("to", 3)];
        assert_eq!(collect(&env, counts).unwrap(), expected.map(|(w, n)| (w.to_owned(), n)));
    }
}

#[test]
fn an_aggregate_larger_than_its_memory_spills_and_stays_right() {
    // 64 KiB for everything: each table is written out many times.
    let env = env(&[("taskmanager.memory.process.size", "256 kb")]);
    env.set_parallelism(2);
    env.set_runtime_mode(RuntimeMode::Batch);
    const KEYS: u64 = 20_000;
    let numbers = env.generate(5 * KEYS, None, |i| (format!("key-{}", i % KEYS), i, i, 1u64));
    let folded = numbers.key_by(|t| t.0.clone()).reduce(|value, record| {
        value.1 = value.1.min(record.1);
        value.2 = value.2.max(record.2);
        value.3 += record.3;
    });
    let mut expected: Vec<_> = (0..KEYS).map(|k| (format!("key-{k}"), k, k + 4 * KEYS, 5)).collect();
    expected.sort();
    assert_eq!(collect(&env, folded).unwrap(), expected);
}

#[test]
fn min_and_max_keep_the_other_fields_of_the_first_record() {
    for (max, expected) in [(false, 1), (true, 9)] {
        let env = env(&[("execution.runtime-mode", "BATCH")]);
        let stream = env.from_elements([
            ("k".to_owned(), 5u32, "first".to_owned()),
            ("k".into(), 1, "b".into()),
            ("k".into(), 9, "c".into()),
        ]);
        let keyed = stream.key_by_ref(|t| &t.0);
        let best = if max { keyed.max(|t| &mut t.1) } else { keyed.min(|t| &mut t.1) };
        assert_eq!(collect(&env, best).unwrap(), [("k".to_owned(), expected, "first".to_owned())]);
    }
}

#[test]
fn records_are_distributed_as_the_program_says() {
    const N: u64 = 3000;
    // (subtask, number) pairs of a map with three subtasks behind each partitioning.
    let received = |partition: fn(DataStream<u64>) -> DataStream<u64>, sources: u32| {
        let env = env(&[]);
        let stream = partition(env.generate(N, None, |i| i).set_parallelism(sources));
        let by_thread = stream.map(|i| (std::thread::current().name().unwrap_or("").to_owned(), i)).set_parallelism(3);
        let mut counts = BTreeMap::new();
        let all = collect(&env, by_thread).unwrap();
        for (thread, _) in &all {
            *counts.entry(thread.clone()).or_insert(0u64) += 1;
        }
        let mut numbers: Vec<u64> = all.into_iter().map(|(_, i)| i).collect();
        numbers.sort_unstable();
        (counts.into_values().collect::<Vec<_>>(), numbers)
    };
    let once: Vec<u64> = (0..N).collect();
    assert_eq!(received(DataStream::rebalance, 2), (vec![N / 3; 3], once.clone()));
    assert_eq!(received(DataStream::forward, 3), (vec![N / 3; 3], once.clone()));
    let (counts, numbers) = received(DataStream::broadcast, 2);
    assert_eq!(counts, [N; 3]);
    assert_eq!(numbers, once.iter().flat_map(|i| [*i; 3]).collect::<Vec<_>>());
    let (counts, numbers) = received(DataStream::shuffle, 2);
    assert_eq!(numbers, once);
    assert!(counts.len() == 3 && counts.iter().all(|n| (N / 6..N / 2).contains(n)), "{counts:?}");
}

#[test]
fn a_union_has_all_records_and_a_stream_used_twice_gives_them_to_both() {
    let env = env(&[]);
    env.set_parallelism(2);
    let one = env.generate(100, None, |i| i);
    let two = env.generate(50, None, |i| i + 1000).set_parallelism(1);
    let odd = one.clone().filter(|i| i % 2 == 1);
    let all = collect(&env, one.union(two).union(odd).map(|i| i)).unwrap();
    let mut expected: Vec<u64> = (0..100).chain(1000..1050).chain((0..100).filter(|i| i % 2 == 1)).collect();
    expected.sort_unstable();
    assert_eq!(all, expected);
}

#[test]
fn a_panic_fails_the_job_with_vertex_subtask_and_message() {
    let env = env(&[]);
    env.set_parallelism(2);
    let stream = env.generate(1000, None, |i| i).rebalance().map(|i| {
        assert!(i != 777, "number {i} is bad");
        i
    });
    let error = collect(&env, stream.name("Checking")).unwrap_err().to_string();
    assert!(error.contains("Checking") && error.contains("/2)"), "{error}");
    assert!(error.contains("number 777 is bad") && error.contains("embedded.rs:"), "{error}");
}

#[test]
fn an_existing_output_and_a_missing_input_are_refused_before_anything_runs() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("out");
    std::fs::create_dir(&output).unwrap();
    std::fs::write(output.join("precious"), "x").unwrap();
    let env = env(&[]);
    let ran = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&ran);
    env.generate(10, None, move |i| {
        counter.fetch_add(1, Ordering::SeqCst);
        i
    })
    .write_as_text(&text(&output));
    let error = env.execute("refused").unwrap_err();
    assert!(matches!(&error, Error::Output { .. }), "{error:?}");
    assert!(format!("{error:?}").contains(&text(&output)), "{error:?}");
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    assert_eq!(std::fs::read_to_string(output.join("precious")).unwrap(), "x");

    let error = env.read_text_file(&text(&directory.path().join("missing"))).err().unwrap();
    assert!(format!("{error:?}").contains("missing"), "{error:?}");
}

#[test]
fn part_files_appear_only_when_the_whole_job_has_finished_and_not_at_all_when_it_fails() {
    let directory = tempfile::tempdir().unwrap();
    for fails in [false, true] {
        let output = directory.path().join(format!("out-{fails}"));
        let (seen, path) = (Arc::new(AtomicU64::new(0)), output.clone());
        let early = Arc::clone(&seen);
        let env = env(&[]);
        env.set_parallelism(2);
        env.generate(2000, Some(20_000.0), move |i| {
            early.fetch_or(u64::from(path.join("part-0").try_exists().unwrap()), Ordering::SeqCst);
            assert!(!(fails && i == 900), "fails");
            (i, format!("n{i}"))
        })
        .write_as_text(&text(&output));
        let result = env.execute("parts");
        assert_eq!(result.is_err(), fails);
        assert_eq!(seen.load(Ordering::SeqCst), 0, "a part was visible while the job ran");
        assert_eq!(output.try_exists().unwrap(), !fails, "a failed job leaves no output");
        if !fails {
            let mut names: Vec<_> = std::fs::read_dir(&output).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, ["part-0", "part-1"]);
            let lines = std::fs::read_to_string(output.join("part-0")).unwrap();
            assert_eq!(lines.lines().next(), Some("(0,n0)"));
        }
    }
}

#[test]
fn a_slow_receiver_holds_the_sender_back_through_credit() {
    let env = env(&[]);
    let (made, taken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let worst = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&made);
    let (ahead_of, most) = (Arc::clone(&taken), Arc::clone(&worst));
    let numbers = env.generate(100_000, None, move |i| {
        let made = counter.fetch_add(1, Ordering::SeqCst) + 1;
        most.fetch_max(made - ahead_of.load(Ordering::SeqCst), Ordering::SeqCst);
        i
    });
    let slow = numbers.rebalance().map(move |i| {
        // Work that takes a while: the sender could be far ahead.
        std::hint::black_box((0..500u64).fold(i, |a, b| a.wrapping_mul(31).wrapping_add(b)));
        taken.fetch_add(1, Ordering::SeqCst);
        i
    });
    assert_eq!(collect(&env, slow.disable_chaining()).unwrap().len(), 100_000);
    // Four buffers of credit, one being filled, one being worked on, one batch in the source: 1024 records each.
    let worst = worst.load(Ordering::SeqCst);
    assert!(worst <= 8 * 1024, "the sender was {worst} records ahead");
    assert!(worst >= 1024, "the sender was never ahead: the test shows nothing");
}

#[test]
fn programs_that_make_no_sense_are_refused_with_a_reason() {
    let refused = |program: fn(&StreamExecutionEnvironment)| {
        let env = env(&[]);
        program(&env);
        env.execute("refused").unwrap_err().to_string()
    };
    type Program = fn(&StreamExecutionEnvironment);
    let cases: [(Program, &str); 6] = [
        (|_| {}, "no operators"),
        (
            |env| {
                env.generate(1, None, |i| i).set_parallelism(2).forward().map(|i| i).set_parallelism(3).print();
            },
            "same parallelism on both sides",
        ),
        (
            |env| {
                env.set_runtime_mode(RuntimeMode::Batch);
                env.socket_text_stream("localhost", 1).print();
            },
            "never ends",
        ),
        (
            |env| {
                env.from_elements([1u64]).set_parallelism(2).print();
            },
            "can't run in parallel",
        ),
        (
            |env| {
                env.generate(1, None, |i| i).uid("a").map(|i| i).uid("a").print();
            },
            "same uid `a`",
        ),
        (
            |env| {
                env.generate(1, None, |i| i).rebalance().set_parallelism(2).print();
            },
            "must follow directly",
        ),
    ];
    for (program, reason) in cases {
        let error = refused(program);
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn lines_come_from_a_socket_as_they_are_sent() {
    use std::io::Write as _;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"to be\r\nor not\nto be").unwrap();
    });
    let env = env(&[]);
    let lines = collect(&env, env.socket_text_stream("127.0.0.1", port)).unwrap();
    assert_eq!(lines, ["or not", "to be", "to be"]);
    server.join().unwrap();
}
