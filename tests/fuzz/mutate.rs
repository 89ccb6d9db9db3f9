//! How an input becomes another one.

/// Longer inputs find nothing that shorter ones do not.
const BYTES_MAX: usize = 1 << 16;

/// Changes of one mutation.
const CHANGES_MAX: usize = 4;

/// How often a piece is repeated: beyond FIELDS_MAX and JSON_DEPTH_MAX.
const REPETITIONS_MAX: usize = 1200;

/// Pieces that mean something to one of the parsers.
#[rustfmt::skip]
const WORDS: &[&[u8]] = &[
    b"\"", b"\\", b"\\u0000", b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", b"{", b"}", b"[", b"]", b":", b",", b"null",
    b"true", b"-0", b"1e400", b"1E-7", b"0.1", b"9223372036854775808", b"340282366920938463463374607431768211456",
    b"=", b"&", b";", b"+", b"%", b"%00", b"%2F", b"%25", b"%C3%A9", b"%ff", b"/", b"//", b"..", b"?", b"#", b"*",
    b"@", b"$", b"'", b"\0", b"\n", b"\r\n", b"\r\n\r\n", b"--", b"--b", b"--b--", b" ", b"\t", b"\xC2\xA0",
    b"\xE2\x80\xA8", b"\xEF\xBB\xBF", b"\xEF\xBF\xBD", b"\xED\xA0\x80", b"\xF0\x9F\x98\x80", b"\xFF", b"\xD9\xA3", b"_",
    b"W/\"", b"q=", b"indent=", b"charset=", b"utf-16", b"utf-16be", b"shift_jis", b"gb18030", b"iso-2022-jp",
    b"boundary=", b"name=\"", b"filename=\"", b"filename*=utf-8''", b"Content-Disposition: form-data; ",
    b"locked_by", b"resources", b"ttl", b"timeout", b"label", b"fencing_token", b"return=", b"representation",
    b"application/json", b"*/*", b"page=", b"postgres://", b"sqlite://", b"password=", b"host=", b"dbname=", b"sslmode=",
    b"DATABASE_URL=", b"export ", b"${", b"RUST_LOG=",
];

/// A source of mutations: the same seed gives the same ones.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// One of `inputs`, changed in some places.
    pub fn mutate(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut bytes, inputs);
        }
        bytes.truncate(BYTES_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let (from, to) = self.range(bytes.len());
        match self.below(8) {
            0 => drop(bytes.drain(from..to)),
            1 => bytes.truncate(from),
            2 => self.repeat(bytes, from, to),
            3 => {
                let other = &inputs[self.below(inputs.len())];
                let (start, end) = self.range(other.len());
                bytes.splice(from..to, other[start..end].iter().copied());
            }
            4 => {
                let byte = self.next() as u8;
                bytes.insert(from, byte);
            }
            5 if from < bytes.len() => bytes[from] ^= 1 << self.below(8),
            6 => {
                let word = WORDS[self.below(WORDS.len())];
                bytes.splice(from..to, word.iter().copied());
            }
            _ => {
                let word = WORDS[self.below(WORDS.len())];
                bytes.splice(from..from, word.iter().copied());
            }
        }
    }

    /// Seldom often.
    fn repeat(&mut self, bytes: &mut Vec<u8>, from: usize, to: usize) {
        let most = if self.below(16) == 0 { REPETITIONS_MAX } else { 3 };
        let piece = bytes[from..to].to_vec();
        let room = BYTES_MAX.saturating_sub(bytes.len()) / piece.len().max(1);
        let pieces = piece.repeat(self.below(most).min(room));
        bytes.splice(from..from, pieces);
    }

    /// A piece of so many bytes, mostly a short one.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let from = self.below(length + 1);
        let longest = if self.below(4) == 0 {
            length - from
        } else {
            8.min(length - from)
        };
        (from, from + self.below(longest + 1))
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// SplitMix64, by Sebastiano Vigna, who put it into the public domain.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
