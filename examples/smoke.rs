//! scratch
use sigplane::*;
fn main() {
    let (tx, rx) = std::sync::mpsc::channel();
    let sub = on(Signal::TERM, move |e| { tx.send(e.clone()).unwrap(); }).unwrap();
    println!("{:?}", send::raise(Signal::TERM));
    println!("{}", rx.recv().unwrap());
    println!("{}", table());
    drop(sub);
    println!("{}", table());
    let inbox = subscribe(Signal::rt(1).unwrap()).capacity(4).inbox().unwrap();
    let mut sent=0;
    for i in 0..100 { if send::raise_with(Signal::rt(1).unwrap(), send::Value::from_int(i)).is_ok(){sent+=1;} }
    println!("sent {sent}\n{}", table());
    for i in 0..100 { let e = inbox.recv(); assert_eq!(e.value().unwrap().int(), i); }
    println!("{}", table());
    drop(inbox);
    std::hint::black_box(defer());
    send::raise(Signal::TERM).unwrap();
}
