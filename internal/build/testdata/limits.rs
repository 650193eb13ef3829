use std::collections::HashMap;
use std::io::{BufRead, Write};

#[cfg(fixed)]
const LIMIT: usize = 12;
#[cfg(not(fixed))]
const LIMIT: usize = 10;

#[inline(never)]
fn limit(n: usize) -> usize {
    if n > LIMIT {
        LIMIT
    } else {
        n
    }
}

#[inline(never)]
fn answer(line: &str, seen: &mut HashMap<String, usize>) -> String {
    let n = seen.entry(line.to_string()).or_insert(0);
    *n += 1;
    format!("{} {} {}", line, n, limit(line.len()))
}

fn main() {
    let mut seen = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        println!("{}", answer(&line.unwrap(), &mut seen));
        std::io::stdout().flush().unwrap();
    }
}
