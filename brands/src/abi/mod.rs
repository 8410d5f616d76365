//! Calling conventions and their system call numbers.

/// A calling convention of x86.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Abi {
    /// 64-bit `syscall`; AUDIT_ARCH_X86_64.
    X86_64,
    /// 32-bit `int 0x80` and `sysenter`; AUDIT_ARCH_I386.
    I386,
}
