//! The file types of llama.cpp's quantizer, and which type each gives to which tensor.
//!
//! A file of type `Q4_K_M` is not all Q4_K. Tensors that hurt most when they are rounded get more bits: the output
//! matrix, the values of attention, the second half of the FFN in the first and last layers. The rules came from
//! measurements of the first LLaMA models and follow no principle, but files of the same name should be the same
//! everywhere, so they are kept to the letter. They go by a tensor's name, by the place of its layer, and by a few
//! facts of the model.
//!
//! Source: the behaviour of llama.cpp's `llama-quantize`.

use motelm_core::gguf::{File, Value};
use motelm_core::quant::Dtype;

/// Declares the file types once: name, number in `general.file_type`, and the type of most tensors.
macro_rules! mixes {
    ($($name:ident $number:expr, $base:ident;)*) => {
        /// What a file's matrices are stored as.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(non_camel_case_types, reason = "the field's own names")]
        #[expect(missing_docs, reason = "the names say all there is; see the table in docs/quantize.md")]
        #[non_exhaustive]
        pub enum Mix { $($name,)* }

        impl Mix {
            /// Every file type there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// `Q4_K_M`, ...
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What `general.file_type` says, where the field has agreed on a number.
            pub const fn file_type(self) -> Option<u32> {
                match self { $(Self::$name => $number,)* }
            }

            /// What most tensors are stored as.
            pub const fn base(self) -> Dtype {
                match self { $(Self::$name => Dtype::$base,)* }
            }
        }
    };
}

mixes! {
    F32 Some(0), F32;
    F16 Some(1), F16;
    BF16 Some(32), BF16;
    Q8_0 Some(7), Q8_0;
    Q6_K Some(18), Q6_K;
    Q5_K_M Some(17), Q5_K;
    Q5_K_S Some(16), Q5_K;
    Q5_1 Some(9), Q5_1;
    Q5_0 Some(8), Q5_0;
    Q4_K_M Some(15), Q4_K;
    Q4_K_S Some(14), Q4_K;
    Q4_1 Some(3), Q4_1;
    Q4_0 Some(2), Q4_0;
    IQ4_NL Some(25), IQ4_NL;
    IQ4_XS Some(30), IQ4_XS;
    MXFP4_MOE Some(38), MXFP4;
    MXFP4 None, MXFP4;
    NVFP4 Some(39), NVFP4;
    Q3_K_L Some(13), Q3_K;
    Q3_K_M Some(12), Q3_K;
    Q3_K_S Some(11), Q3_K;
    IQ3_M Some(27), IQ3_S;
    IQ3_S Some(26), IQ3_S;
    IQ3_XS Some(22), IQ3_S;
    IQ3_XXS Some(23), IQ3_XXS;
    Q2_K Some(10), Q2_K;
    Q2_K_S Some(21), Q2_K;
    IQ2_M Some(29), IQ2_S;
    IQ2_S Some(28), IQ2_XS;
    IQ2_XS Some(20), IQ2_XS;
    IQ2_XXS Some(19), IQ2_XXS;
    Q2_0 Some(41), Q2_0;
    IQ1_M Some(31), IQ1_M;
    IQ1_S Some(24), IQ1_S;
    TQ2_0 Some(37), TQ2_0;
    TQ1_0 Some(36), TQ1_0;
    // The number is Microsoft's; llama.cpp gave it to Q1_0 later.
    I2_S Some(40), I2_S;
    Q1_0 Some(40), Q1_0;
}

impl Mix {
    /// The file type of this name (`Q4_K_M`), in upper or lower case. `Q4_K` is short for `Q4_K_M`, and likewise for 3
    /// and 5 bits.
    pub fn from_name(name: &str) -> Option<Self> {
        let medium = ["q3_k", "q4_k", "q5_k"].iter().any(|short| name.eq_ignore_ascii_case(short));
        let name = if medium { format!("{name}_M") } else { name.into() };
        Self::ALL.iter().copied().find(|mix| mix.name().eq_ignore_ascii_case(&name))
    }

    /// Whether most tensors are plain numbers; then all are.
    fn is_float(self) -> bool {
        self.base().block_len() == 1
    }

    /// At most about two and a half bits.
    fn is_tiny(self) -> bool {
        use Mix::*;
        matches!(self, IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ2_M)
    }
}

/// What the rules ask about a model.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// `general.architecture`
    pub arch: String,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads of the first block.
    pub heads: usize,
    /// Key and value heads of the first block.
    pub kv_heads: usize,
    /// Experts of each block; 0 when it is dense.
    pub experts: usize,
}

impl Facts {
    /// Reads them from a file's metadata; what is absent counts as 0.
    pub fn of(file: &File) -> Self {
        let arch = file.str("general.architecture").ok().flatten().unwrap_or_default().to_owned();
        let number = |key: &str| {
            let value = match file.get(&format!("{arch}.{key}"))? {
                // One number per layer.
                Value::Array(array) => array.iter().next()?,
                value => value,
            };
            usize::try_from(value.as_u64()?).ok()
        };
        let heads = number("attention.head_count").unwrap_or(0);
        Self {
            layers: number("block_count").unwrap_or(0),
            heads,
            kv_heads: number("attention.head_count_kv").unwrap_or(heads),
            experts: number("expert_count").unwrap_or(0),
            arch,
        }
    }

    /// Query heads that share their keys and values.
    fn sharing(&self) -> usize {
        self.heads.checked_div(self.kv_heads).unwrap_or(0)
    }

    /// The shape of LLaMA-2 70B and what was made like it.
    fn is_70b(&self) -> bool {
        self.layers == 80 && self.heads != self.kv_heads
    }

    fn is_falcon(&self) -> bool {
        self.arch == "falcon"
    }
}

/// A tensor as the rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    /// Such as `blk.0.attn_q.weight`.
    pub name: &'a str,
    /// Elements per dimension, row length first.
    pub dims: &'a [usize],
}

impl Tensor<'_> {
    /// Whether the tensor is a matrix of weights that may be rounded at all: not a norm, a bias, a router, a
    /// convolution, a table of positions.
    pub fn is_quantizable(&self) -> bool {
        const KEPT: &[&str] = &[
            "_norm.weight",
            "ffn_gate_inp.weight",
            "ffn_gate_tid2eid.weight",
            "altup",
            "laurel",
            "per_layer_model_proj",
            "ssm_conv1d",
            "shortconv.conv.weight",
            "indexer.k_proj.weight",
            "indexer.q_proj.weight",
            "time_mix_first.weight",
            "time_mix_w0.weight",
            "time_mix_w1.weight",
            "time_mix_w2.weight",
            "time_mix_v0.weight",
            "time_mix_v1.weight",
            "time_mix_v2.weight",
            "time_mix_a0.weight",
            "time_mix_a1.weight",
            "time_mix_a2.weight",
            "time_mix_g1.weight",
            "time_mix_g2.weight",
            "time_mix_decay_w1.weight",
            "time_mix_decay_w2.weight",
            "time_mix_lerp_fused.weight",
            "attn_rel_b.weight",
            ".position_embd",
            "sam.pos_embd",
            "sam.neck.",
            "sam.net_",
            ".rel_pos",
            ".patch_embd",
            ".patch_merger",
            "a.rvq.codebook",
            "mm.a.code_embd",
        ];
        let is_table = matches!(self.name, "position_embd.weight" | "token_types.weight");
        self.dims.iter().skip(1).any(|&dim| dim > 1)
            && self.name.ends_with("weight")
            && !is_table
            && !KEPT.iter().any(|part| self.name.contains(part))
    }

    fn cols(&self) -> usize {
        self.dims.first().copied().unwrap_or(0)
    }

    /// The number in `blk.N.`.
    fn layer(&self) -> Option<usize> {
        self.name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
    }

    /// Whether several matrices, one for each expert, are stacked.
    fn is_stacked(&self) -> bool {
        self.dims.get(2).is_some_and(|&n| n > 1)
    }

    /// The type for the tensor that is nearest to `wanted` and has rows of this length.
    pub fn fitting(&self, wanted: Dtype) -> Dtype {
        use Dtype::*;
        let second = match wanted {
            Q2_K | Q3_K | Q2_0 | TQ1_0 | TQ2_0 => Q4_0,
            Q4_K => Q5_0,
            Q5_K => Q5_1,
            Q6_K => Q8_0,
            IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_XS => IQ4_NL,
            _ => F16,
        };
        let fits = |dtype: &Dtype| self.cols().is_multiple_of(dtype.block_len());
        [wanted, second].into_iter().find(fits).unwrap_or(F16)
    }

    fn part(&self) -> Part {
        if self.name == "output.weight" {
            return Part::Output;
        }
        if matches!(self.name, "token_embd.weight" | "per_layer_token_embd.weight") {
            return Part::Embedding;
        }
        let parts = [
            ("attn_qkv.weight", Part::FusedQkv),
            ("attn_kv_b.weight", Part::FusedKv),
            ("attn_v.weight", Part::Values),
            ("attn_k.weight", Part::Keys),
            ("attn_q.weight", Part::Queries),
            ("attn_output.weight", Part::AttentionOutput),
            ("ffn_up", Part::Up),
            ("ffn_gate", Part::Gate),
            ("ffn_down", Part::Down),
        ];
        parts.iter().find(|(name, _)| self.name.contains(name)).map_or(Part::Other, |&(_, part)| part)
    }
}

/// What a matrix is in its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Output,
    Embedding,
    FusedQkv,
    FusedKv,
    Values,
    Keys,
    Queries,
    AttentionOutput,
    Up,
    Gate,
    Down,
    Other,
}

impl Part {
    /// Whether values come out of it.
    fn has_values(self) -> bool {
        matches!(self, Self::Values | Self::FusedQkv | Self::FusedKv)
    }
}

/// A file type and how it is to be read.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The file type.
    pub mix: Mix,
    /// Every matrix gets the file type's base, wherever its rows allow.
    pub pure: bool,
    /// Whether the encoders will know how important columns are: some tensors then need fewer bits.
    pub with_importance: bool,
    /// For the output matrix, also when that is the embedding.
    pub output: Option<Dtype>,
    /// For the embedding.
    pub embedding: Option<Dtype>,
}

impl From<Mix> for Rules {
    fn from(mix: Mix) -> Self {
        Self { mix, pure: false, with_importance: false, output: None, embedding: None }
    }
}

impl Rules {
    /// The type of each tensor, or `None` for tensors that stay as they are. `forced` may decide for a tensor instead.
    pub fn types(
        &self,
        facts: &Facts,
        tensors: &[Tensor<'_>],
        forced: impl Fn(&Tensor<'_>) -> Option<Dtype>,
    ) -> Vec<Option<Dtype>> {
        let values = tensors.iter().filter(|tensor| tensor.part().has_values()).count();
        let has_output = tensors.iter().any(|tensor| tensor.part() == Part::Output);
        let mut choice = Choice {
            rules: self,
            facts,
            tied: !has_output,
            values: Count { seen: 0, of: values },
            downs: Count { seen: 0, of: facts.layers },
            gates: Count { seen: 0, of: facts.layers },
            ups: Count { seen: 0, of: facts.layers },
        };
        // Some rules count tensors: layer by layer, wherever in the file they lie.
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        order.sort_by_key(|&i| (tensors[i].layer(), tensors[i].name));
        let mut types = vec![None; tensors.len()];
        for i in order {
            let tensor = &tensors[i];
            if tensor.is_quantizable() {
                types[i] = Some(choice.of(tensor, forced(tensor)));
            }
        }
        types
    }
}

/// The rules at work on one model's tensors, one after the other.
struct Choice<'a> {
    rules: &'a Rules,
    facts: &'a Facts,
    /// The embedding is the output matrix, too.
    tied: bool,
    values: Count,
    downs: Count,
    gates: Count,
    ups: Count,
}

/// How many tensors of a kind came before, and how many there are.
#[derive(Clone, Copy)]
struct Count {
    seen: usize,
    of: usize,
}

impl Count {
    /// The place of the next one.
    fn next(&mut self) -> Self {
        self.seen += 1;
        Self { seen: self.seen - 1, ..*self }
    }

    fn is_in_first(self, part: usize) -> bool {
        self.seen < self.of / part
    }

    fn is_in_last_eighth(self) -> bool {
        self.seen >= 7 * self.of / 8
    }

    /// The first and last eighth, and every third between.
    fn gets_more_bits(self) -> bool {
        self.is_in_first(8) || self.is_in_last_eighth() || (self.seen - self.of / 8) % 3 == 2
    }
}

impl Choice<'_> {
    fn of(&mut self, tensor: &Tensor<'_>, forced: Option<Dtype>) -> Dtype {
        let Rules { mix, pure, output, embedding, .. } = *self.rules;
        let by_option = match tensor.part() {
            Part::Embedding => embedding,
            Part::Output => output,
            _ => None,
        };
        let wanted = match by_option.or(forced) {
            Some(dtype) => dtype,
            None if pure || mix.is_float() => mix.base(),
            None => self.mixed(tensor),
        };
        tensor.fitting(wanted)
    }

    fn mixed(&mut self, tensor: &Tensor<'_>) -> Dtype {
        let mix = self.rules.mix;
        let part = tensor.part();
        let is_head = part == Part::Output || part == Part::Embedding && self.tied;
        match mix {
            _ if is_head && self.rules.output.is_some() => self.rules.output.unwrap_or(mix.base()),
            // One scale for a whole tensor serves neither a table of words nor a stack of experts.
            Mix::I2_S if is_head || part == Part::Embedding || tensor.is_stacked() => Dtype::F16,
            Mix::MXFP4_MOE if !is_head && tensor.is_stacked() => Dtype::MXFP4,
            Mix::MXFP4_MOE => Dtype::Q8_0,
            _ if is_head => self.head(tensor),
            _ if part == Part::Embedding => self.embedding(),
            _ if mix.is_tiny() => self.tiny(part),
            _ => self.usual(part, tensor),
        }
    }

    fn head(&self, tensor: &Tensor<'_>) -> Dtype {
        let mix = self.rules.mix;
        let whole = tensor.cols().is_multiple_of(mix.base().block_len());
        if self.facts.is_falcon() || !whole || mix.base() == Dtype::Q8_0 {
            Dtype::Q8_0
        } else if mix.is_tiny() || mix == Mix::IQ3_XXS {
            Dtype::Q5_K
        } else {
            Dtype::Q6_K
        }
    }

    /// An embedding that is not the head.
    fn embedding(&self) -> Dtype {
        use Mix::*;
        match self.rules.mix {
            IQ2_XXS | IQ2_XS | IQ1_S | IQ1_M => Dtype::Q2_K,
            IQ2_S | IQ2_M | IQ3_XXS => Dtype::IQ3_S,
            TQ1_0 | TQ2_0 | Q2_0 => Dtype::Q4_K,
            mix => mix.base(),
        }
    }

    fn tiny(&mut self, part: Part) -> Dtype {
        let mix = self.rules.mix;
        let (better, less) = match mix {
            Mix::IQ2_S | Mix::IQ2_M => (Dtype::IQ3_S, Dtype::IQ3_S),
            Mix::IQ1_S | Mix::IQ1_M => (Dtype::Q2_K, Dtype::IQ2_XXS),
            _ => (Dtype::Q2_K, mix.base()),
        };
        match part {
            _ if part.has_values() => {
                let few = self.facts.sharing() >= 4 || self.facts.experts >= 4;
                if few { Dtype::Q4_K } else { better }
            }
            Part::Keys if self.facts.experts == 8 => Dtype::Q4_K,
            Part::Down => {
                let early = self.downs.next().is_in_first(8);
                if early { better } else { mix.base() }
            }
            Part::AttentionOutput if self.facts.experts == 8 => Dtype::Q5_K,
            Part::AttentionOutput => less,
            _ => mix.base(),
        }
    }

    fn usual(&mut self, part: Part, tensor: &Tensor<'_>) -> Dtype {
        let mix = self.rules.mix;
        match part {
            _ if part.has_values() => self.values(),
            // With eight experts the rest of the model is small, and worth its bits.
            Part::Keys if self.facts.experts == 8 => Dtype::Q8_0,
            Part::Keys | Part::Queries => match mix {
                Mix::IQ3_XS => Dtype::IQ3_XXS,
                Mix::IQ3_XXS => Dtype::IQ2_S,
                _ => mix.base(),
            },
            Part::Down => {
                let at = self.downs.next();
                self.down(self.place(at, tensor))
            }
            Part::AttentionOutput => self.attention_output(),
            Part::Gate | Part::Up => {
                let at = if part == Part::Gate { self.gates.next() } else { self.ups.next() };
                let at = self.place(at, tensor);
                let middle = !at.is_in_first(8) && !at.is_in_last_eighth();
                if mix == Mix::IQ3_XS && middle { Dtype::IQ3_XXS } else { mix.base() }
            }
            _ => mix.base(),
        }
    }

    /// Of models with experts, the layer counts, as there may be several tensors of a kind in each.
    fn place(&self, at: Count, tensor: &Tensor<'_>) -> Count {
        match tensor.layer() {
            Some(layer) if self.facts.experts > 1 => Count { seen: layer, ..at },
            _ => at,
        }
    }

    fn values(&mut self) -> Dtype {
        use Mix::*;
        let mix = self.rules.mix;
        let at = self.values.next();
        let shared = self.facts.sharing() >= 4;
        let mut dtype = match mix {
            Q2_K if !shared => Dtype::Q3_K,
            Q2_K | Q2_K_S | IQ3_XXS | IQ3_XS | IQ3_S if shared => Dtype::Q4_K,
            IQ3_XXS if !self.rules.with_importance => Dtype::IQ3_S,
            IQ3_M => Dtype::Q4_K,
            Q3_K_M if at.seen < 2 => Dtype::Q5_K,
            Q3_K_M => Dtype::Q4_K,
            Q3_K_L => Dtype::Q5_K,
            IQ4_NL | IQ4_XS if shared => Dtype::Q5_K,
            Q4_K_M | Q5_K_M if at.gets_more_bits() => Dtype::Q6_K,
            Q4_K_S if at.seen < 4 => Dtype::Q5_K,
            _ => mix.base(),
        };
        if self.facts.is_70b() && matches!(dtype, Dtype::Q3_K | Dtype::Q4_K) {
            dtype = Dtype::Q5_K;
        }
        if self.facts.experts == 8 { Dtype::Q8_0 } else { dtype }
    }

    fn down(&self, at: Count) -> Dtype {
        use Mix::*;
        let mix = self.rules.mix;
        let (early, falcon) = (at.is_in_first(8), self.facts.is_falcon());
        match mix {
            Q2_K => Dtype::Q3_K,
            Q2_K_S if early => Dtype::Q4_K,
            IQ3_XXS if !self.rules.with_importance => {
                if early {
                    Dtype::Q4_K
                } else {
                    Dtype::Q3_K
                }
            }
            Q3_K_M if at.is_in_first(16) => Dtype::Q5_K,
            Q3_K_M if !falcon || at.gets_more_bits() => Dtype::Q4_K,
            IQ3_M if early || self.facts.experts == 8 && at.gets_more_bits() => Dtype::Q4_K,
            Q3_K_L if falcon => Dtype::Q4_K,
            Q3_K_L => Dtype::Q5_K,
            Q4_K_M if falcon && !at.is_in_first(16) => {
                if at.gets_more_bits() {
                    Dtype::Q5_K
                } else {
                    Dtype::Q4_K
                }
            }
            Q4_K_M if falcon || at.gets_more_bits() => Dtype::Q6_K,
            IQ4_NL | IQ4_XS if early && !self.rules.with_importance => Dtype::Q5_K,
            Q5_K_M if at.gets_more_bits() => Dtype::Q6_K,
            Q4_K_S if early && !falcon => Dtype::Q5_K,
            Q4_0 if early && self.rules.with_importance => Dtype::Q4_1,
            Q5_0 if early && self.rules.with_importance => Dtype::Q5_1,
            _ => mix.base(),
        }
    }

    fn attention_output(&self) -> Dtype {
        use Mix::*;
        let mix = self.rules.mix;
        if self.facts.is_falcon() {
            return if mix == Q3_K_L { Dtype::Q4_K } else { mix.base() };
        }
        if self.facts.experts == 8 {
            return match mix {
                Q2_K | IQ3_XS | IQ3_XXS | Q3_K_S | Q3_K_M | IQ4_NL | Q4_K_S | Q4_K_M | IQ3_S | IQ3_M
                | IQ4_XS => Dtype::Q5_K,
                _ => mix.base(),
            };
        }
        match mix {
            Q2_K => Dtype::Q3_K,
            IQ3_XXS => Dtype::IQ3_S,
            Q3_K_M | IQ3_M => Dtype::Q4_K,
            Q3_K_L => Dtype::Q5_K,
            _ => mix.base(),
        }
    }
}
