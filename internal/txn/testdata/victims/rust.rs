// A Rust program: mangled names, a trait object, and a panic that is caught
// behind a frame of replaced code.
use std::hint::black_box; // keeps a change from spreading to the callers
use std::io::BufRead;

trait Shape {
    fn area(&self, n: u64) -> u64;
}
struct Square(u64);
impl Shape for Square {
    #[inline(never)]
    fn area(&self, n: u64) -> u64 {
        black_box(if cfg!(fixed) { self.0 * n + 130 } else { self.0 * n + 30 })
    }
}

#[inline(never)]
fn checked(n: u64) -> u64 {
    if n > 100 {
        std::panic::resume_unwind(Box::new(n)); // without a message
    }
    black_box(if cfg!(fixed) { n + 1000 } else { n })
}

fn main() {
    let shape: Box<dyn Shape> = black_box(Box::new(Square(4)));
    println!("ready {}", std::process::id());
    for line in std::io::stdin().lock().lines() {
        match line.unwrap_or_default().as_str() {
            "q" => println!("{} {}", shape.area(3), checked(black_box(7))),
            "p" => println!(
                "{}",
                match std::panic::catch_unwind(|| checked(black_box(200))) {
                    Ok(_) => "not caught",
                    Err(_) => "caught",
                }
            ),
            _ => (),
        }
    }
}
