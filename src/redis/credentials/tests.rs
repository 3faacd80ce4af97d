//! A provider, asked by the clock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use super::*;
use crate::error::{Error, ErrorKind};
use crate::redis::config::Secret;

type Answer = Box<dyn Fn(usize) -> Result<Issued> + Send + Sync>;

/// Answers the n-th question, counted from 1.
struct Scripted {
    questions: AtomicUsize,
    times: Mutex<Vec<Instant>>,
    answer: Answer,
}

impl CredentialProvider for Scripted {
    fn name(&self) -> String {
        "scripted".to_owned()
    }

    fn ask(self: Arc<Self>, promise: Promise) -> Result<()> {
        self.times.lock().unwrap().push(Instant::now());
        let number = self.questions.fetch_add(1, Ordering::SeqCst) + 1;
        std::thread::spawn(move || promise.keep((self.answer)(number)));
        Ok(())
    }
}

/// Answers no question by itself.
#[derive(Default)]
struct Silent {
    promises: Mutex<Vec<Promise>>,
    unheard: Mutex<Vec<String>>,
}

impl CredentialProvider for Silent {
    fn name(&self) -> String {
        "silent".to_owned()
    }

    fn ask(self: Arc<Self>, promise: Promise) -> Result<()> {
        self.promises.lock().unwrap().push(promise);
        Ok(())
    }

    fn unheard(&self, error: &Error) {
        self.unheard.lock().unwrap().push(error.to_string());
    }
}

impl Silent {
    /// Waits until `number` questions have been put that are not forgotten.
    fn asked(&self, number: usize) {
        let end = Instant::now() + Duration::from_secs(5);
        while self.promises.lock().unwrap().len() < number {
            assert!(Instant::now() < end, "not asked");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn silent(limit: Duration) -> (Arc<Silent>, CredentialSource) {
    let provider = Arc::new(Silent::default());
    let issuer = Issuer::new(provider.clone(), LONG, limit);
    (
        provider,
        CredentialSource::Provided(Provided(Arc::new(issuer))),
    )
}

fn scripted(
    refresh: Duration,
    answer: impl Fn(usize) -> Result<Issued> + Send + Sync + 'static,
) -> (Arc<Scripted>, CredentialSource) {
    let provider = Arc::new(Scripted {
        questions: AtomicUsize::new(0),
        times: Mutex::default(),
        answer: Box::new(answer),
    });
    let source = CredentialSource::provided(provider.clone(), refresh);
    (provider, source)
}

fn issued(password: &str, life: Option<Duration>) -> Issued {
    Issued {
        credentials: Credentials {
            username: None,
            password: Secret::from(password.to_owned()),
        },
        expires_in: life,
    }
}

fn failure() -> Result<Issued> {
    Err(Error::new(ErrorKind::Connection, "no token today"))
}

/// Asks for what is newer than `generation` and waits for it.
fn ask(source: &CredentialSource, generation: u64) -> Result<Option<Login>> {
    let (sender, receiver) = mpsc::channel();
    let request = source.request(generation, move || sender.send(()).unwrap());
    let request = request.unwrap().unwrap();
    if let Some(outcome) = request.outcome() {
        return outcome;
    }
    receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    request.outcome().unwrap()
}

fn password(login: &Login) -> &str {
    login.credentials.as_ref().unwrap().password.expose()
}

const LONG: Duration = Duration::from_secs(600);

#[test]
fn it_is_asked_when_it_is_needed() {
    let (provider, source) = scripted(LONG, |n| Ok(issued(&n.to_string(), None)));
    std::thread::sleep(Duration::from_millis(50));
    assert!(source.newest().is_none() && source.newer_than(0).is_none());
    assert_eq!(provider.questions.load(Ordering::SeqCst), 0);
    let login = ask(&source, 0).unwrap().unwrap();
    assert_eq!((password(&login), login.generation), ("1", 1));
    // What is at hand is not asked for.
    assert_eq!(ask(&source, 0).unwrap().unwrap().generation, 1);
    assert_eq!(source.clone().newest().unwrap().generation, 1);
    assert_eq!(source.newer_than(0).unwrap().generation, 1);
    assert!(source.newer_than(1).is_none());
    assert_eq!(provider.questions.load(Ordering::SeqCst), 1);
}

#[test]
fn many_who_wait_are_one_question() {
    let (provider, source) = scripted(LONG, |n| {
        std::thread::sleep(Duration::from_millis(200));
        Ok(issued(&n.to_string(), None))
    });
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(password(&ask(&source, 0).unwrap().unwrap()), "1"));
        }
    });
    assert_eq!(provider.questions.load(Ordering::SeqCst), 1);
}

#[test]
fn credentials_are_renewed_ahead_of_expiry() {
    let life = Some(Duration::from_millis(1500));
    let (provider, source) = scripted(LONG, move |n| Ok(issued(&n.to_string(), life)));
    ask(&source, 0).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let times = provider.times.lock().unwrap().clone();
    assert_eq!(times.len(), 3, "at 0, 1.2 and 2.4 seconds");
    for pair in times.windows(2) {
        let gap = pair[1] - pair[0];
        assert!((1150..1450).contains(&gap.as_millis()), "{gap:?}");
    }
    assert_eq!(password(&source.newest().unwrap()), "3");
    // One that is renewed in time for its refresh is renewed as often as that.
    let (provider, source) = scripted(Duration::from_secs(1), |_| Ok(issued("same", None)));
    ask(&source, 0).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(provider.questions.load(Ordering::SeqCst), 3);
    assert_eq!(source.newest().unwrap().generation, 1, "the same all along");
}

#[test]
fn a_refused_login_asks_at_once_but_not_more_often_than_once_a_second() {
    let (provider, source) = scripted(LONG, |n| Ok(issued(&n.to_string(), None)));
    let first = ask(&source, 0).unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    let start = Instant::now();
    let second = ask(&source, first.generation).unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_millis(100));
    assert_eq!(password(&second), "2");
    // Refused again, at once and by many.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let third = ask(&source, second.generation).unwrap().unwrap();
                assert_eq!(password(&third), "3");
            });
        }
    });
    assert!((900..1300).contains(&start.elapsed().as_millis()));
    assert_eq!(provider.questions.load(Ordering::SeqCst), 3);
}

#[test]
fn nothing_newer_is_said() {
    let (_, source) = scripted(LONG, |_| Ok(issued("same", None)));
    ask(&source, 0).unwrap().unwrap();
    assert!(ask(&source, 1).unwrap().is_none());
}

#[test]
fn while_a_provider_fails_the_old_credentials_serve() {
    let (provider, source) = scripted(Duration::from_secs(1), |n| match n {
        1 | 4.. => Ok(issued(&n.to_string(), None)),
        _ => failure(),
    });
    ask(&source, 0).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(provider.questions.load(Ordering::SeqCst), 2);
    assert_eq!(password(&source.newest().unwrap()), "1");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(password(&source.newest().unwrap()), "4");
}

#[test]
fn a_first_failure_is_told_and_tried_again() {
    let (provider, source) = scripted(LONG, |n| match n {
        1..=3 => failure(),
        _ => Ok(issued("late", None)),
    });
    for _ in 0..3 {
        let error = ask(&source, 0).unwrap_err();
        assert_eq!(error.to_string(), "scripted: no token today");
    }
    // 100, 200 and 400 ms apart, when someone asks.
    assert_eq!(password(&ask(&source, 0).unwrap().unwrap()), "late");
    let times = provider.times.lock().unwrap().clone();
    let took = times[3] - times[0];
    assert!((650..1100).contains(&took.as_millis()), "{took:?}");
    // Nobody asks: nor does the thread.
    let (provider, source) = scripted(LONG, |_| failure());
    ask(&source, 0).unwrap_err();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(provider.questions.load(Ordering::SeqCst), 1);
}

#[test]
fn who_gives_up_leaves_nothing_behind() {
    let (provider, source) = silent(LONG);
    let held = Arc::new(());
    for _ in 0..500 {
        let own = held.clone();
        let request = source.request(0, move || drop(own)).unwrap().unwrap();
        assert!(request.outcome().is_none());
    }
    assert_eq!(Arc::strong_count(&held), 1);
    // They were one question, whose answer serves the next.
    provider.asked(1);
    let waiting = std::thread::spawn({
        let source = source.clone();
        move || ask(&source, 0)
    });
    std::thread::sleep(Duration::from_millis(50));
    provider.promises.lock().unwrap()[0].keep(Ok(issued("at last", None)));
    let login = waiting.join().unwrap().unwrap().unwrap();
    assert_eq!(password(&login), "at last");
    assert_eq!(provider.promises.lock().unwrap().len(), 1);
}

#[test]
fn a_provider_that_never_answers_is_asked_anew() {
    let (provider, source) = silent(Duration::from_millis(100));
    let start = Instant::now();
    let late = "silent: it has not answered within 100ms";
    assert_eq!(ask(&source, 0).unwrap_err().to_string(), late);
    assert!((100..250).contains(&start.elapsed().as_millis()));
    let waiting = std::thread::spawn({
        let source = source.clone();
        move || ask(&source, 0)
    });
    provider.asked(2);
    {
        let promises = provider.promises.lock().unwrap();
        promises[0].keep(Ok(issued("too late", None)));
        promises[1].keep(Ok(issued("second", None)));
    }
    let login = waiting.join().unwrap().unwrap().unwrap();
    assert_eq!((password(&login), login.generation), ("second", 1));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(password(&source.newest().unwrap()), "second");
    // It hangs again, and the old credentials serve.
    let error = ask(&source, 1).unwrap_err();
    assert_eq!(error.to_string(), late);
    assert_eq!(password(&source.newest().unwrap()), "second");
    assert_eq!(*provider.unheard.lock().unwrap(), [&late[8..]; 2]);
}

#[test]
fn questions_that_hang_do_not_become_ever_more() {
    let (provider, source) = silent(Duration::from_millis(10));
    for _ in 0..4 {
        let error = ask(&source, 0).unwrap_err().to_string();
        assert!(error.ends_with("has not answered within 10ms"), "{error}");
    }
    let error = ask(&source, 0).unwrap_err().to_string();
    assert_eq!(error, "silent: 4 calls of it are hanging");
    assert_eq!(provider.promises.lock().unwrap().len(), 4);
    // One ends, without a word.
    provider.promises.lock().unwrap().pop();
    let waiting = std::thread::spawn(move || ask(&source, 0));
    provider.asked(4);
    provider.promises.lock().unwrap().pop();
    let error = waiting.join().unwrap().unwrap_err().to_string();
    assert_eq!(error, "silent: it ended without an answer");
}

#[test]
fn the_thread_ends_with_the_source() {
    let (provider, source) = scripted(LONG, |n| Ok(issued(&n.to_string(), None)));
    ask(&source, 0).unwrap();
    let other = source.clone();
    drop(source);
    assert_eq!(other.newest().unwrap().generation, 1);
    drop(other);
    let end = Instant::now() + Duration::from_secs(5);
    while Arc::strong_count(&provider) > 1 {
        assert!(Instant::now() < end, "the thread holds the provider still");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn debug_output_holds_no_secret() {
    let (_, source) = scripted(LONG, |_| Ok(issued("s3cret", None)));
    let login = ask(&source, 0).unwrap().unwrap();
    let fixed = CredentialSource::Fixed(login.credentials.clone().unwrap());
    let shown = format!("{source:?} {fixed:?} {login:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
}
