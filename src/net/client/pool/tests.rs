//! Connections that grow old, names that lead elsewhere, and requests in turn.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::DuplexStream;

use super::*;
use crate::core::outside::{BoxSocket, GivenListener, Network, PendingIo};
use crate::net::client::settings::AGE_MAX;
use crate::net::client::target::Target;

/// A name that leads to servers of HTTP/2 while it leads anywhere.
#[derive(Default)]
struct Name {
    /// Empty: it connects by itself.
    addresses: Mutex<Vec<IpAddr>>,
    refuses: Mutex<Option<IpAddr>>,
    connected: Mutex<Vec<String>>,
    dialled: AtomicUsize,
    dangles: AtomicBool,
    servers: Spawner,
}

async fn serve(socket: DuplexStream) {
    let mut connection = h2::server::handshake(socket).await.expect("a client");
    while connection.accept().await.is_some() {}
}

impl Network for Name {
    fn listen(&self, _at: SocketAddr) -> io::Result<Box<dyn GivenListener>> {
        Err(io::Error::other("nobody listens here"))
    }

    fn resolve(&self, _host: &str) -> Option<Vec<IpAddr>> {
        Some(self.addresses.locked().clone()).filter(|addresses| !addresses.is_empty())
    }

    fn connect<'a>(&'a self, host: &'a str, _port: u16) -> PendingIo<'a, BoxSocket> {
        self.dialled.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            if self.refuses.locked().is_some_and(|address| address.to_string() == host) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            self.connected.locked().push(host.to_owned());
            if self.dangles.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            self.servers.spawn(serve(theirs));
            Ok(Box::new(ours) as BoxSocket)
        })
    }
}

fn pool() -> (Arc<Name>, Pool) {
    balanced(Balancer::RoundRobin)
}

fn balanced(balance: Balancer) -> (Arc<Name>, Pool) {
    let name = Arc::<Name>::default();
    let target = Target::parse("http://hop:4317", None).expect("a target");
    let outside = Outside { network: Some(name.clone()), ..Outside::default() };
    (name, Pool::new(ClientSettings { balance, ..ClientSettings::new(target, ClientHttp::Http2) }, outside))
}

async fn lent(pool: &Pool) -> Arc<Live> {
    match pool.lend().await {
        Ok(Lent::Http2 { live, .. }) => live,
        _ => panic!("it speaks HTTP/2"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_grew_old_is_replaced_by_one_to_where_the_name_leads_now() {
    let (name, pool) = pool();
    let first = lent(&pool).await;
    tokio::time::advance(AGE_MAX - Duration::from_secs(1)).await;
    assert!(Arc::ptr_eq(&first, &lent(&pool).await));
    tokio::time::advance(AGE_MAX / 4).await;
    let second = lent(&pool).await;
    assert!(!Arc::ptr_eq(&first, &second) && !first.sender.is_closed(), "what is under way ends on the old one");
    assert!(Arc::ptr_eq(&second, &lent(&pool).await));
    assert_eq!(name.dialled.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_goes_on_while_its_name_leads_nowhere_and_costs_one_request_a_second_at_most() {
    let (name, pool) = pool();
    let first = lent(&pool).await;
    name.dangles.store(true, Ordering::Relaxed);
    tokio::time::advance(AGE_MAX * 2).await;
    let begun = Instant::now();
    let (one, other) = tokio::join!(lent(&pool), lent(&pool));
    assert!(Arc::ptr_eq(&one, &first) && Arc::ptr_eq(&other, &first));
    assert_eq!((name.dialled.load(Ordering::Relaxed), begun.elapsed().as_secs()), (2, RENEWED_WITHIN.as_secs()));
    assert!(Arc::ptr_eq(&first, &lent(&pool).await) && begun.elapsed() < RENEWED_WITHIN * 2, "not each tries");
    name.dangles.store(false, Ordering::Relaxed);
    tokio::time::advance(RENEWED_AGAIN).await;
    assert!(!Arc::ptr_eq(&first, &lent(&pool).await));
}

fn leads_to(name: &Name, last: &[u8]) {
    *name.addresses.locked() = last.iter().map(|last| IpAddr::from([10, 0, 0, *last])).collect();
}

/// To which addresses so many connections in a row lead, sorted.
async fn used(pool: &Pool, name: &Name, requests: usize) -> Vec<String> {
    for _ in 0..requests {
        lent(pool).await;
    }
    let mut connected = name.connected.locked().clone();
    connected.sort();
    connected
}

#[tokio::test(start_paused = true)]
async fn round_robin_has_a_connection_to_each_address_and_finds_those_that_come() {
    let (name, pool) = pool();
    leads_to(&name, &[1, 2, 3]);
    assert_eq!(used(&pool, &name, 9).await, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let lanes = [lent(&pool).await, lent(&pool).await, lent(&pool).await];
    assert!(!Arc::ptr_eq(&lanes[0], &lanes[1]) && Arc::ptr_eq(&lanes[0], &lent(&pool).await), "in turn");
    leads_to(&name, &[1, 2, 3, 4]);
    tokio::time::advance(AGE_MAX * 2).await;
    assert!(used(&pool, &name, 12).await.contains(&"10.0.0.4".to_owned()));
    leads_to(&name, &[2]);
    tokio::time::advance(AGE_MAX * 2).await;
    used(&pool, &name, 12).await;
    assert_eq!((pool.used(), name.connected.locked().last().cloned().as_deref()), (1, Some("10.0.0.2")));
}

#[tokio::test(start_paused = true)]
async fn pick_first_stays_with_the_resolvers_first_address_that_takes_a_connection() {
    let (name, pool) = balanced(Balancer::PickFirst);
    leads_to(&name, &[3, 1, 2]);
    assert_eq!(used(&pool, &name, 9).await, ["10.0.0.3"]);
    let (name, pool) = balanced(Balancer::PickFirst);
    leads_to(&name, &[3, 1, 2]);
    *name.refuses.locked() = Some(IpAddr::from([10, 0, 0, 3]));
    assert_eq!(used(&pool, &name, 9).await, ["10.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_refuses_costs_no_request_and_is_used_within_a_minute_or_so_of_its_return() {
    let (name, pool) = pool();
    leads_to(&name, &[1, 2]);
    *name.refuses.locked() = Some(IpAddr::from([10, 0, 0, 1]));
    let begun = Instant::now();
    let connected = used(&pool, &name, 20).await;
    assert!(connected.iter().all(|address| address == "10.0.0.2"), "{connected:?}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    *name.refuses.locked() = None;
    tokio::time::advance(RENEWED_AGAIN + Duration::from_secs(1)).await;
    assert!(used(&pool, &name, 4).await.contains(&"10.0.0.1".to_owned()));
}
