//! Whose turn it is among the nodes: each in turn, those that gave no answer rest for a while, longer each time.
//!
//! Pure: `now` is an argument. When all rest, the one that may come back first is asked: somebody has to find out.

use std::time::Duration;

use tokio::time::Instant;

use crate::core::backoff::Doubling;

const RESTS: Doubling = Doubling { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

#[derive(Debug, Default)]
struct Node {
    failures: u32,
    rests_until: Option<Instant>,
}

#[derive(Debug)]
pub struct NodeTurns {
    nodes: Vec<Node>,
    turn: usize,
}

impl NodeTurns {
    pub fn new(nodes: usize) -> NodeTurns {
        NodeTurns { nodes: (0..nodes.max(1)).map(|_| Node::default()).collect(), turn: 0 }
    }

    /// The node for the next request that is none of `tried`; `None` when all were tried.
    pub fn next(&mut self, now: Instant, tried: &[usize]) -> Option<usize> {
        let count = self.nodes.len();
        let order = (0..count).map(|step| (self.turn + step) % count).filter(|node| !tried.contains(node));
        let awake = |node: &usize| self.nodes[*node].rests_until.is_none_or(|until| until <= now);
        let chosen = order.clone().find(awake).or_else(|| order.min_by_key(|node| self.nodes[*node].rests_until))?;
        self.turn = (chosen + 1) % count;
        Some(chosen)
    }

    pub fn works(&mut self, node: usize) {
        self.nodes[node] = Node::default();
    }

    pub fn fails(&mut self, node: usize, now: Instant) {
        let node = &mut self.nodes[node];
        let rest = RESTS.after(node.failures);
        node.failures = node.failures.saturating_add(1);
        node.rests_until = Some(now + rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_node_has_its_turn_and_a_dead_one_rests() {
        let start = Instant::now();
        let mut rota = NodeTurns::new(3);
        let turns = |rota: &mut NodeTurns, now, count: usize| -> Vec<_> {
            (0..count).map(|_| rota.next(now, &[]).unwrap()).collect()
        };
        assert_eq!(turns(&mut rota, start, 4), [0, 1, 2, 0]);
        rota.fails(1, start);
        assert_eq!(turns(&mut rota, start, 4), [2, 0, 2, 0]);
        assert_eq!(turns(&mut rota, start + RESTS.first, 3), [1, 2, 0], "its rest is over");
        rota.fails(1, start + RESTS.first);
        assert!(!turns(&mut rota, start + 2 * RESTS.first, 6).contains(&1), "the second rest is longer");
        rota.works(1);
        assert!(turns(&mut rota, start + 2 * RESTS.first, 3).contains(&1));
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_rest_the_first_to_come_back_is_asked_and_none_twice_for_one_request() {
        let start = Instant::now();
        let mut rota = NodeTurns::new(2);
        rota.fails(0, start);
        rota.fails(0, start);
        rota.fails(1, start);
        assert_eq!(rota.next(start, &[]), Some(1));
        assert_eq!(rota.next(start, &[1]), Some(0));
        assert_eq!(rota.next(start, &[0, 1]), None);
    }
}
