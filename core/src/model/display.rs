//! Plans as text, for people and for snapshot tests: two architectures differ by a diff of these.

use alloc::format;
use alloc::string::String;
use core::fmt;

use super::plan::*;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} tokens, width {}, context {}", self.arch, self.n_vocab, self.dim, self.context)?;
        write!(f, "embed    tokens")?;
        if self.embed.scale != 1.0 {
            write!(f, " x {}", self.embed.scale)?;
        }
        for (part, tensor) in [("positions", self.embed.positions), ("types", self.embed.types)] {
            if tensor.is_some() {
                write!(f, " + {part}")?;
            }
        }
        writeln!(f, "{}", after(&self.embed.norm))?;
        // Runs of equal layers are told once; tensors' positions do not matter for that.
        let told: alloc::vec::Vec<String> = self.layers.iter().map(|layer| format!("{layer}")).collect();
        let mut first = 0;
        while first < told.len() {
            let run = told[first..].iter().take_while(|text| **text == told[first]).count();
            writeln!(f, "layers   {first}..{}", first + run)?;
            write!(f, "{}", told[first])?;
            first += run;
        }
        if let Some(norm) = &self.norm {
            writeln!(f, "norm     {norm}")?;
        }
        match &self.head {
            Head::Logits { linear, scale, softcap } => {
                let tied = if linear.weight == self.embed.tokens { " (tied)" } else { "" };
                write!(f, "logits   {linear}{tied}")?;
                if *scale != 1.0 {
                    write!(f, " x {scale}")?;
                }
                writeln!(f, "{}", capped(*softcap))
            }
            Head::Embedding { pooling, dense, classifier } => {
                write!(f, "pool     {pooling:?}")?;
                dense.iter().try_for_each(|linear| write!(f, ", dense {linear}"))?;
                if let Some(Classifier { dense, out }) = classifier {
                    dense.iter().try_for_each(|linear| write!(f, ", classifier {linear} > Tanh"))?;
                    out.iter().try_for_each(|linear| write!(f, ", classifier {linear}"))?;
                }
                writeln!(f, "{}", if *pooling == Pooling::Rank { "" } else { ", L2" })
            }
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.wiring {
            Wiring::Sequential { mixer_pre, mixer_post, ffn_pre, ffn_post } => {
                write!(f, "{}{}{}", before(mixer_pre), self.mixer, after(mixer_post))?;
                self.fmt_residual(f)?;
                if self.ffn == Ffn::None {
                    return Ok(());
                }
                write!(f, "{}{}{}", before(ffn_pre), self.ffn, after(ffn_post))?;
                self.fmt_residual(f)
            }
            Wiring::Parallel { mixer_pre, ffn_pre } => {
                writeln!(f, "  {mixer_pre} > {}", self.mixer)?;
                match ffn_pre {
                    Some(norm) => writeln!(f, "  beside {norm} > {}", self.ffn),
                    None => writeln!(f, "  beside the same > {}", self.ffn),
                }
            }
            Wiring::PostNorm { after_mixer, after_ffn } => {
                writeln!(f, "  {}, added > {after_mixer}", self.mixer)?;
                writeln!(f, "  {}, added > {after_ffn}", self.ffn)
            }
        }
    }
}

impl Layer {
    fn fmt_residual(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.residual_scale == 1.0 {
            writeln!(f)
        } else {
            writeln!(f, ", added x {}", self.residual_scale)
        }
    }
}

impl fmt::Display for Mixer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attention(attention) => attention.fmt(f),
            Self::Latent(latent) => latent.fmt(f),
            Self::ShortConv(conv) => {
                write!(f, "short convolution in {}, {}, out {}", conv.input, conv.conv, conv.out)
            }
            Self::StateSpace(space) => space.fmt(f),
        }
    }
}

impl fmt::Display for Latent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "latent attention {} heads of {}+{} over {}",
            self.n_heads, self.plain, self.rope.dims, self.rank
        )?;
        match &self.q {
            LatentQuery::Direct(q) => write!(f, ", q {q}")?,
            LatentQuery::LowRank { down, norm, up } => write!(f, ", q {down} > {norm} > {up}")?,
        }
        write!(f, ", kv {} > {}, {}", self.kv, self.kv_norm, self.rope)?;
        write!(f, ", causal, x {}, values of {}, out {}", self.scale, self.value, self.out)
    }
}

impl fmt::Display for StateSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state space {} heads of {}x{}", self.n_heads, self.head_dim(), self.state)?;
        write!(f, " in {} groups, in {}, {}", self.n_groups, self.input, self.conv)?;
        write!(f, ", {} per group, out {}", self.norm, self.out)
    }
}

impl fmt::Display for Conv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conv of {} over {}", self.taps, self.width)?;
        if self.bias.is_some() { write!(f, "+bias") } else { Ok(()) }
    }
}

impl fmt::Display for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attention {}/{} heads of {}", self.n_heads, self.n_kv_heads, self.head_dim)?;
        match &self.qkv {
            Qkv::Separate { q, k, v } => write!(f, ", q {q}, k {k}, v {v}")?,
            Qkv::Fused(qkv) => write!(f, ", qkv {qkv}")?,
        }
        match &self.qk_norm {
            QkNorm::None => {}
            QkNorm::PerHead { q, .. } => write!(f, ", {q} per head of q, k")?,
            QkNorm::Whole { q, .. } => write!(f, ", {q} over q, k")?,
        }
        match &self.rope {
            Some(rope) => write!(f, ", {rope}")?,
            None => write!(f, ", no rope")?,
        }
        match self.mask {
            Mask::Causal => write!(f, ", causal")?,
            Mask::Sliding(window) => write!(f, ", causal window {window}")?,
            Mask::Full => write!(f, ", both ways")?,
            Mask::SlidingBothWays(window) => write!(f, ", both ways window {window}")?,
        }
        if let Some(alibi) = self.alibi {
            write!(f, ", alibi to 2^-{alibi}")?;
        }
        write!(f, ", x {}{}", self.scale, capped(self.softcap))?;
        if self.sinks.is_some() {
            write!(f, ", sinks")?;
        }
        if let Some(norm) = &self.sub_norm {
            write!(f, ", {norm}")?;
        }
        write!(f, ", out {}", self.out)
    }
}

impl fmt::Display for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rope {:?} {} base {}", self.pairs, self.dims, self.base)?;
        match &self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => write!(f, " linear {factor}"),
            RopeScaling::Factors(_) => write!(f, " with factors"),
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, attention_factor } => write!(
                f,
                " yarn {factor} from {original_context}, beta {beta_fast}..{beta_slow}, attention {attention_factor}"
            ),
            RopeScaling::Long { original_context, attention_factor, .. } => {
                write!(f, " long from {original_context}, attention {attention_factor}")
            }
        }
    }
}

impl fmt::Display for Ffn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "no ffn"),
            Self::Dense(mlp) => mlp.fmt(f),
            Self::Experts(experts) => experts.fmt(f),
        }
    }
}

impl fmt::Display for Mlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.up {
            Up::Plain(up) => write!(f, "ffn {:?} up {up}", self.activation)?,
            Up::Gated { gate, up } => write!(f, "ffn {:?} gate {gate}, up {up}", self.activation)?,
            Up::GatedFused(both) => write!(f, "ffn {:?} gate and up {both}", self.activation)?,
        }
        if let Some(norm) = &self.sub_norm {
            write!(f, ", {norm}")?;
        }
        write!(f, ", down {}", self.down)
    }
}

impl fmt::Display for Experts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} experts by {}", self.n_used, self.n_experts, self.routing)?;
        let bias = if self.up.bias.is_some() { "+bias" } else { "" };
        write!(f, ", router {}, {:?} of {}{bias}", self.router, self.activation, self.hidden)?;
        match &self.shared {
            Some(Shared { mlp, gate: Some(_) }) => write!(f, ", and gated for all: {mlp}"),
            Some(Shared { mlp, gate: None }) => write!(f, ", and for all: {mlp}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.weights)?;
        if self.choice_bias.is_some() {
            write!(f, " chosen with a bias")?;
        }
        if self.scale == 1.0 { Ok(()) } else { write!(f, " x {}", self.scale) }
    }
}

impl fmt::Display for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}>{}", self.n_in, self.n_out)?;
        if self.scale.is_some() {
            write!(f, " scaled")?;
        }
        if self.bias.is_some() { write!(f, "+bias") } else { Ok(()) }
    }
}

impl fmt::Display for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bias = if self.bias.is_some() { "+bias" } else { "" };
        write!(f, "{:?}Norm{bias} {:e}", self.kind, self.eps)
    }
}

fn before(norm: &Option<Norm>) -> String {
    norm.as_ref().map_or(String::from("  "), |norm| format!("  {norm} > "))
}

fn after(norm: &Option<Norm>) -> String {
    norm.as_ref().map_or(String::new(), |norm| format!(" > {norm}"))
}

fn capped(softcap: Option<f32>) -> String {
    softcap.map_or(String::new(), |cap| format!(", capped at {cap}"))
}
