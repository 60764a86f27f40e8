"""The reflectance model as a Mitsuba BSDF: a Lambert lobe plus a GGX lobe, each parameter a texture."""

from __future__ import annotations

from functools import cache
from typing import Any

PLUGIN = "nextface_skin"


@cache
def register(variant: str) -> str:
    """Register the BSDF with the current Mitsuba variant, once a process; returns the plugin's name.

    f = diffuse / pi + F D G2 / (4 cos_i cos_o): GGX D with alpha = roughness^2, height-correlated Smith G2
    (Heitz 2014, equation 99), Schlick F with F0 = specular. The sum is additive: the diffuse lobe is not
    dimmed by F. One-sided: the back of the geometric surface is black. Where an interpolated normal turns
    away from a viewer who sees the front, the diffuse lobe stays and the GGX lobe is 0. Only selects stand
    where a minimum or maximum could: LLVM 17 cannot compile these on every processor.

    Parameters of the plugin: textures `diffuse` (RGB), `specular` (F0) and `roughness`.
    """
    import drjit as dr
    import mitsuba as mi

    if mi.variant() != variant:
        raise RuntimeError(f"the current Mitsuba variant is {mi.variant()}, not {variant}")

    class SkinBSDF(mi.BSDF):
        def __init__(self, properties: Any) -> None:
            mi.BSDF.__init__(self, properties)
            self.diffuse = properties["diffuse"]
            self.specular = properties["specular"]
            self.roughness = properties["roughness"]
            flags = (
                mi.BSDFFlags.DiffuseReflection
                | mi.BSDFFlags.GlossyReflection
                | mi.BSDFFlags.FrontSide
                | mi.BSDFFlags.SpatiallyVarying
            )
            self.m_components = [flags]
            self.m_flags = flags

        def traverse(self, callback: Any) -> None:
            for name in ("diffuse", "specular", "roughness"):
                callback.put(name, getattr(self, name), mi.ParamFlags.Differentiable)

        def reflectance(self, si: Any, active: Any = True) -> tuple[Any, Any, Any]:
            """Diffuse albedo, F0 and GGX alpha at surface points."""
            diffuse = self.diffuse.eval(si, active)
            # inactive lookups give 0, and a lobe without width would be 0 / 0 where it is looked along
            alpha = dr.select(active, dr.square(self.roughness.eval_1(si, active)), 1)
            return diffuse, self.specular.eval_1(si, active), alpha

        def value_pdf(self, reflectance: tuple[Any, Any, Any], wi: Any, wo: Any) -> tuple[Any, Any]:
            """f cos_o, and the density of `direction` in solid angle (detached), where `wi` sees the front."""
            diffuse, f0, alpha = reflectance
            cos_i, cos_o = wi.z, wo.z
            lit, glossy = cos_o > 0, cos_i > 0
            alpha_squared = dr.square(alpha)
            half = dr.normalize(wi + wo)
            # at a narrow lobe's peak, sin^2 + alpha^2 cos^2 keeps digits that 1 - (1 - alpha^2) cos^2 loses
            spread = dr.square(half.x) + dr.square(half.y) + alpha_squared * dr.square(half.z)
            ndf = alpha_squared / (dr.pi * dr.square(spread))
            root_i = dr.sqrt(alpha_squared + (1 - alpha_squared) * dr.square(cos_i))
            root_o = dr.sqrt(alpha_squared + (1 - alpha_squared) * dr.square(cos_o))
            visibility = 0.5 / (cos_o * root_i + cos_i * root_o)  # G2 / (4 cos_i cos_o)
            lobe = dr.select(glossy & lit, schlick(f0, dr.dot(wi, half)) * ndf * visibility, 0)
            value = dr.select(lit, (diffuse * dr.inv_pi + lobe) * cos_o, 0)

            with dr.suspend_grad():
                lobe_pdf = dr.select(glossy, 0.5 * ndf / (cos_i + root_i), 0)
                share = glossy_share(cos_i, diffuse, f0)
                pdf = dr.select(lit, dr.lerp(cos_o * dr.inv_pi, lobe_pdf, share), 0)
            return value, dr.detach(pdf)

        def direction(self, reflectance: tuple[Any, Any, Any], wi: Any, choice: Any, sample: Any) -> Any:
            """A detached local direction drawn from the mixture of both lobes."""
            with dr.suspend_grad():
                wi = dr.detach(wi)
                diffuse, f0, alpha = (dr.detach(value) for value in reflectance)
                reflected = mi.reflect(wi, visible_normal(wi, alpha, sample))
                cosine = cosine_hemisphere(sample)
                wo = dr.select(choice < glossy_share(wi.z, diffuse, f0), reflected, cosine)
            return dr.detach(wo)

        # What Mitsuba's own integrators ask of a BSDF

        def eval_pdf(self, context: Any, si: Any, wo: Any, active: Any = True) -> tuple[Any, Any]:
            active = active & front(si)
            value, pdf = self.value_pdf(self.reflectance(si, active), si.wi, wo)
            return dr.select(active, value, 0), dr.select(active, pdf, 0)

        def eval(self, context: Any, si: Any, wo: Any, active: Any = True) -> Any:
            return self.eval_pdf(context, si, wo, active)[0]

        def pdf(self, context: Any, si: Any, wo: Any, active: Any = True) -> Any:
            return self.eval_pdf(context, si, wo, active)[1]

        def sample(
            self, context: Any, si: Any, sample1: Any, sample2: Any, active: Any = True
        ) -> tuple[Any, Any]:
            active = active & front(si)
            reflectance = self.reflectance(si, active)
            wo = self.direction(reflectance, si.wi, sample1, sample2)
            value, pdf = self.value_pdf(reflectance, si.wi, wo)
            record = dr.zeros(mi.BSDFSample3f)
            record.wo = wo
            record.pdf = dr.select(active, pdf, 0)
            record.eta = 1.0
            record.sampled_type = mi.UInt32(+mi.BSDFFlags.GlossyReflection)
            record.sampled_component = mi.UInt32(0)
            return record, dr.select(record.pdf > 0, value / pdf, 0)

        def eval_diffuse_reflectance(self, si: Any, active: Any = True) -> Any:
            return self.diffuse.eval(si, active)

        def to_string(self) -> str:
            return f"SkinBSDF[{self.diffuse}, {self.specular}, {self.roughness}]"

    def front(si: Any) -> Any:
        """Whether the viewer is on the geometric front: the side to which the triangle's normal points."""
        return dr.dot(si.to_world(si.wi), si.n) > 0

    def schlick(f0: Any, cosine: Any) -> Any:
        tail = dr.select(cosine < 1, 1 - cosine, 0)
        return f0 + (1 - f0) * dr.square(dr.square(tail)) * tail

    def glossy_share(cos_i: Any, diffuse: Any, f0: Any) -> Any:
        """The probability of drawing from the GGX lobe; 0 where that lobe is 0."""
        fresnel = schlick(f0, cos_i)
        share = fresnel / (fresnel + dr.mean(diffuse) + 1e-6)
        share = dr.select(share > 0.75, 0.75, dr.select(share < 0.25, 0.25, share))
        return dr.select(cos_i > 0, share, 0)

    def cosine_hemisphere(sample: Any) -> Any:
        """A direction drawn in proportion to its cosine: a disc seen from above."""
        sine, cosine = dr.sincos(dr.two_pi * sample.x)
        radius = dr.sqrt(sample.y)
        return mi.Vector3f(radius * cosine, radius * sine, dr.sqrt(1 - sample.y))

    def visible_normal(wi: Any, alpha: Any, sample: Any) -> Any:
        """A microfacet normal visible from `wi`, by spherical caps (Dupuy and Benyoub 2023)."""
        stretched = dr.normalize(mi.Vector3f(alpha * wi.x, alpha * wi.y, wi.z))
        height = dr.fma(1 - sample.y, 1 + stretched.z, -stretched.z)
        rest = 1 - dr.square(height)
        radius = dr.sqrt(dr.select(rest > 0, rest, 0))
        sine, cosine = dr.sincos(dr.two_pi * sample.x)
        cap = mi.Vector3f(radius * cosine, radius * sine, height) + stretched
        return dr.normalize(mi.Vector3f(alpha * cap.x, alpha * cap.y, cap.z))

    mi.register_bsdf(PLUGIN, lambda properties: SkinBSDF(properties))
    return PLUGIN
