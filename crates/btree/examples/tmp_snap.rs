#![allow(missing_docs)]
use ashlar_btree::*;
use ashlar_format::key::TreeId;
use ashlar_format::node::NodePointer;
use std::sync::Arc;
use std::time::Instant;
struct No;
impl NodeSource for No {
    fn read(&self, _: TreeId, _: u8, _: NodePointer) -> Result<Arc<Node>> {
        unreachable!()
    }
}
fn name_key(number: u64) -> [u8; 40] {
    let mut key = *b"directry--hash--a file name of 24 bytes.";
    key[8..16].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key
}
fn main() {
    let mut t = Tree::empty(TreeId::Names);
    let mut o = Obsolete::new();
    for i in 0..200_000u64 {
        t.put(&No, &mut o, &name_key(i), &[1; 9]).unwrap();
    }
    let n: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let s = Instant::now();
    for i in 0..n {
        let _s = t.clone();
        t.put(&No, &mut o, &name_key(i % 200_000), &[1; 9]).unwrap();
    }
    println!("{} ns, obsolete {}", s.elapsed().as_nanos() as u64 / n, o.len());
}
