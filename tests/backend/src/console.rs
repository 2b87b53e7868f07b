// SPDX-License-Identifier: GPL-2.0

//! The backend's half of a console page, as Xen's `io/console.h` has it. [`abi::console`] is the other half. This one can
//! also be made to lie: see [`script`].

pub mod script;

use abi::console::{IN_CONS, IN_PROD, IN_SIZE, OUT, OUT_CONS, OUT_PROD, OUT_SIZE, SIZE};
use abi::shared::Memory;
use anyhow::{ensure, Result};

/// The backend's half of the rings in the memory `M`.
pub struct BackConsole<M> {
    memory: M,
    in_prod: u32,
    out_cons: u32,
    /// What was written over the frontend's index of an empty input ring.
    scribbled: Option<u32>,
}

impl<M: Memory> BackConsole<M> {
    /// Takes up the page as the frontend, or a backend that died, has left it.
    ///
    /// # Errors
    ///
    /// When the memory is too small.
    pub fn new(memory: M) -> Result<Self> {
        ensure!(memory.size() >= SIZE, "no console page");
        Ok(Self {
            in_prod: memory.load_u32(IN_PROD),
            out_cons: memory.load_u32(OUT_CONS),
            scribbled: None,
            memory,
        })
    }

    /// Takes all output. None, as xenconsoled and QEMU have it, while the frontend's index is impossible.
    pub fn take(&mut self) -> Vec<u8> {
        let prod = self.memory.load_acquire_u32(OUT_PROD);
        let len = prod.wrapping_sub(self.out_cons);
        if len > OUT_SIZE {
            return Vec::new();
        }
        let taken = (0..len).map(|at| {
            let mut byte = [0];
            let index = self.out_cons.wrapping_add(at);
            self.memory
                .read(OUT + (index % OUT_SIZE) as usize, &mut byte);
            byte[0]
        });
        let taken = taken.collect();
        self.out_cons = prod;
        self.memory.fence();
        self.memory.store_release_u32(OUT_CONS, prod);
        taken
    }

    /// Bytes of input that fit; none while the frontend's index is impossible.
    pub fn room(&self) -> u32 {
        let cons = self.memory.load_acquire_u32(IN_CONS);
        if self.scribbled == Some(cons) {
            return IN_SIZE;
        }
        IN_SIZE.saturating_sub(self.in_prod.wrapping_sub(cons))
    }

    /// Gives as much of the input as fits; returns how much.
    pub fn put(&mut self, input: &[u8]) -> usize {
        let len = input.len().min(self.room() as usize);
        for byte in &input[..len] {
            self.memory
                .write((self.in_prod % IN_SIZE) as usize, &[*byte]);
            self.in_prod = self.in_prod.wrapping_add(1);
        }
        self.memory.store_release_u32(IN_PROD, self.in_prod);
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_page;
    use abi::console::Ring;

    #[test]
    fn both_halves_pass_bytes() {
        with_page(|memory| {
            let mut front = Ring::attach(memory).expect("a ring");
            let mut back = BackConsole::new(memory).expect("its other half");
            for round in 0..500u32 {
                let text: Vec<u8> = (0..700).map(|at| (at + round) as u8).collect();
                assert_eq!(front.write(&text), Ok(700));
                assert_eq!(back.take(), text);
                assert_eq!(back.put(&text), 700);
                assert_eq!(back.put(&text), 324);
                let mut into = [0; 1024];
                assert_eq!(front.read(&mut into), Ok(1024));
                assert_eq!(into[..700], text);
                assert_eq!(into[700..], text[..324]);
            }
        });
    }
}
