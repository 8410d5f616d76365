//! An assembler for the kernel's BPF machine (Documentation/bpf/standardization/instruction-set.rst): as much of it as
//! the programs of a shared zone need.

/// A register. 0 is what helpers answer, 1 to 5 their arguments; 6 to 9 outlive a call; 10 is the top of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reg(u8);

pub(super) const R0: Reg = Reg(0);
pub(super) const R1: Reg = Reg(1);
pub(super) const R2: Reg = Reg(2);
pub(super) const R3: Reg = Reg(3);
pub(super) const R4: Reg = Reg(4);
pub(super) const R5: Reg = Reg(5);
pub(super) const R6: Reg = Reg(6);
pub(super) const R7: Reg = Reg(7);
pub(super) const R8: Reg = Reg(8);
pub(super) const R9: Reg = Reg(9);
pub(super) const STACK: Reg = Reg(10);

/// Width of what is loaded or stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Size {
    /// Four bytes.
    Word = 0x00,
    /// One.
    Byte = 0x10,
    /// Two.
    Half = 0x08,
    /// Eight.
    Double = 0x18,
}

/// Where a jump leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program that is being written.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<u64>,
    jumps: Vec<(usize, Label)>,
    places: Vec<Option<usize>>,
}

impl Assembler {
    fn put(&mut self, opcode: u8, to: Reg, from: Reg, offset: i16, number: i32) {
        let registers = u64::from(to.0 | from.0 << 4) << 8;
        let offset = u64::from(offset as u16) << 16;
        self.code.push(u64::from(opcode) | registers | offset | u64::from(number as u32) << 32);
    }

    /// `to = number`, with its sign.
    pub(super) fn set(&mut self, to: Reg, number: i32) {
        self.put(0xb7, to, R0, 0, number);
    }

    /// `to = number` of 32 bits, without a sign.
    pub(super) fn set32(&mut self, to: Reg, number: u32) {
        self.put(0xb4, to, R0, 0, number as i32);
    }

    /// `to = from`
    pub(super) fn copy(&mut self, to: Reg, from: Reg) {
        self.put(0xbf, to, from, 0, 0);
    }

    /// `to += number`
    pub(super) fn add(&mut self, to: Reg, number: i32) {
        self.put(0x07, to, R0, 0, number);
    }

    /// `to &= number`, of 32 bits.
    pub(super) fn and32(&mut self, to: Reg, number: u32) {
        self.put(0x54, to, R0, 0, number as i32);
    }

    /// `to |= number`, of 32 bits.
    pub(super) fn or32(&mut self, to: Reg, number: u32) {
        self.put(0x44, to, R0, 0, number as i32);
    }

    /// `to <<= number`
    pub(super) fn shift_left(&mut self, to: Reg, number: i32) {
        self.put(0x67, to, R0, 0, number);
    }

    /// `to = *(from + offset)`
    pub(super) fn load(&mut self, size: Size, to: Reg, from: Reg, offset: i16) {
        self.put(0x61 | size as u8, to, from, offset, 0);
    }

    /// `*(to + offset) = from`
    pub(super) fn store(&mut self, size: Size, to: Reg, offset: i16, from: Reg) {
        self.put(0x63 | size as u8, to, from, offset, 0);
    }

    /// `to = number`, of 64 bits.
    pub(super) fn set64(&mut self, to: Reg, number: u64) {
        self.put(0x18, to, R0, 0, number as i32);
        self.code.push(number >> 32 << 32);
    }

    /// `to` = a map, by its descriptor.
    pub(super) fn map(&mut self, to: Reg, fd: i32) {
        /// BPF_PSEUDO_MAP_FD
        const MAP: Reg = Reg(1);
        self.put(0x18, to, MAP, 0, fd);
        self.code.push(0);
    }

    /// Calls a helper (bpf-helpers(7)) by its number.
    pub(super) fn call(&mut self, helper: i32) {
        self.put(0x85, R0, R0, 0, helper);
    }

    pub(super) fn exit(&mut self) {
        self.put(0x95, R0, R0, 0, 0);
    }

    /// A label that is placed later.
    pub(super) fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// What is written next is where the label leads.
    pub(super) fn place(&mut self, label: Label) {
        self.places[label.0] = Some(self.code.len());
    }

    pub(super) fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.put(0x05, R0, R0, 0, 0);
    }

    /// Jumps where the lower 32 bits are this number (Linux 5.1).
    pub(super) fn jump_if(&mut self, reg: Reg, number: u32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.put(0x16, reg, R0, 0, number as i32);
    }

    /// Jumps where they are another.
    pub(super) fn jump_unless(&mut self, reg: Reg, number: u32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.put(0x56, reg, R0, 0, number as i32);
    }

    /// Jumps where the lower 32 bits of two are the same.
    pub(super) fn jump_if_same(&mut self, one: Reg, other: Reg, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.put(0x1e, one, other, 0, 0);
    }

    /// Jumps where all of two is the same.
    pub(super) fn jump_if_same64(&mut self, one: Reg, other: Reg, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.put(0x1d, one, other, 0, 0);
    }

    /// Jumps where all of a register is 0: a pointer is none.
    pub(super) fn jump_if_null(&mut self, reg: Reg, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.put(0x15, reg, R0, 0, 0);
    }

    /// Jumps where one is above the other, without signs: how the end of a packet or option is met.
    pub(super) fn jump_if_above(&mut self, one: Reg, other: Reg, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.put(0x2d, one, other, 0, 0);
    }

    /// The instructions; `None` where a jump is longer than there can be.
    pub(super) fn finish(mut self) -> Option<Vec<u64>> {
        for (at, label) in &self.jumps {
            let place = self.places.get(label.0).copied().flatten()?;
            let distance = i16::try_from(place as i64 - *at as i64 - 1).ok()?;
            self.code[*at] |= u64::from(distance as u16) << 16;
        }
        Some(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_those_of_the_machine() {
        let mut asm = Assembler::default();
        let end = asm.label();
        asm.copy(R6, R1);
        asm.load(Size::Word, R7, R6, 4);
        asm.jump_if(R7, 0x0200_00c0, end);
        asm.store(Size::Half, STACK, -16, R7);
        asm.place(end);
        asm.set(R0, 1);
        asm.exit();
        // As llvm-mc writes them: r6 = r1, w7 = *(u32 *)(r6 + 4), if w7 == 0x20000c0 goto +1, *(u16 *)(r10 - 16) = w7.
        let expected = [
            0x0000_0000_0000_16bf,
            0x0000_0000_0004_6761,
            0x0200_00c0_0001_0716,
            0x0000_0000_fff0_7a6b,
            0x0000_0001_0000_00b7,
            0x0000_0000_0000_0095,
        ];
        assert_eq!(asm.finish().unwrap(), expected);
    }

    #[test]
    fn a_jump_that_is_too_long_is_no_program() {
        let mut asm = Assembler::default();
        let end = asm.label();
        asm.jump(end);
        (0..40_000).for_each(|_| asm.set(R0, 1));
        asm.place(end);
        asm.exit();
        assert_eq!(asm.finish(), None);
        let mut asm = Assembler::default();
        let nowhere = asm.label();
        asm.jump(nowhere);
        assert_eq!(asm.finish(), None);
    }
}
