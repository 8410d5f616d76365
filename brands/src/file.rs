//! What a guest may ask of a file, and what the host's kernel says of it.

use crate::task::At;

/// Which file of a guest is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// By a path, as the guest resolves it.
    Path {
        /// What it is relative to.
        at: At,
        /// The path, not empty.
        path: &'a [u8],
        /// Whether a symbolic link at its end is followed.
        follow: bool,
    },
    /// By a descriptor of the guest.
    Open(i32),
}

/// `struct statx` (statx(2)) with ids as the guest's zone has them. Its layout is the same on every ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statx(pub [u8; 256]);

impl Statx {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|i| self.0[at + i])
    }

    fn half(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    fn long(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes(at))
    }

    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        self.0[at..at + N].copy_from_slice(&bytes);
    }

    /// Preferred size of reads and writes.
    pub fn block_size(&self) -> u32 {
        self.word(4)
    }

    /// Hard links.
    pub fn links(&self) -> u32 {
        self.word(16)
    }

    /// Owner.
    pub fn uid(&self) -> u32 {
        self.word(20)
    }

    /// Group.
    pub fn gid(&self) -> u32 {
        self.word(24)
    }

    /// Sets the owner and the group.
    pub fn set_ids(&mut self, uid: u32, gid: u32) {
        self.put(20, uid.to_le_bytes());
        self.put(24, gid.to_le_bytes());
    }

    /// Type and permissions.
    pub fn mode(&self) -> u16 {
        self.half(28)
    }

    /// Inode number.
    pub fn inode(&self) -> u64 {
        self.long(32)
    }

    /// Sets the inode number.
    pub fn set_inode(&mut self, inode: u64) {
        self.put(32, inode.to_le_bytes());
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.long(40)
    }

    /// Blocks of 512 bytes.
    pub fn blocks(&self) -> u64 {
        self.long(48)
    }

    fn time(&self, at: usize) -> (i64, u32) {
        (self.long(at) as i64, self.word(at + 8))
    }

    /// Times of the last access, modification and change: seconds, nanoseconds.
    pub fn times(&self) -> [(i64, u32); 3] {
        [self.time(64), self.time(112), self.time(96)]
    }

    /// Numbers of the device that it is: major, minor.
    pub fn device_of_node(&self) -> (u32, u32) {
        (self.word(128), self.word(132))
    }

    /// Numbers of the device that it lies on: major, minor.
    pub fn device(&self) -> (u32, u32) {
        (self.word(136), self.word(140))
    }
}

/// `struct statfs` of x86_64 (statfs(2)), without what is spare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statfs {
    /// Magic number of the file system.
    pub kind: u64,
    /// Size that reads and writes should have.
    pub block_size: u64,
    /// Blocks of `fragment` bytes.
    pub blocks: u64,
    /// Of them free.
    pub free: u64,
    /// Of them free for all.
    pub available: u64,
    /// Inodes; all bits set where it does not count them.
    pub files: u64,
    /// Of them free.
    pub files_free: u64,
    /// Its id.
    pub id: u64,
    /// Longest name.
    pub name_max: u64,
    /// Size of the blocks that are counted.
    pub fragment: u64,
    /// ST_* of statfs(2).
    pub flags: u64,
    /// Whether these are the figures of what the zone may write, in the place of the file system's.
    pub is_share: bool,
}

/// A directory's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Inode number.
    pub inode: u64,
    /// Position of the entry after it, as 32-bit programs are given it.
    pub next: i64,
    /// DT_* of readdir(3).
    pub kind: u8,
    /// Name, without a NUL.
    pub name: Vec<u8>,
}

/// Entries read from an open directory, whose position is now after the last of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Position before them.
    pub start: i64,
    /// The entries; none at the end.
    pub entries: Vec<Entry>,
}
