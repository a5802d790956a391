"""The thesis's ways to make images of the target class hard to learn (sections 3.3 and 4.3 to 4.6),
with surrogates and GANs in sizes for a CPU.

It gives bounds and deviations for pixels from 0 to 255, and neither the number of PGD's steps nor
their length: here 2.5 times the bound in all (Madry et al. 2018), from a random start.
"""

from dataclasses import replace

from lib.attacks.hardening.gan import GAN
from lib.attacks.hardening.noise import Noise
from lib.attacks.hardening.pgd import PGD
from lib.attacks.hardening.pixels import Pixels
from lib.training import Training
from lib.training.transforms.adversarial import Adversarial
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

BOUNDS = {"l2": (300, 600, 1200), "linf": (8, 16, 32)}
TAUS = (0.0, 0.1, 0.2, 0.3)
DEVIATIONS = (5, 10, 20, 40, 80)  # ours; the thesis states none
REACH = 2.5  # bounds that PGD's steps add up to

# Two steps, as each of them costs half of what the rest of an update does.
SEARCH = Adversarial(step=5 / 255, steps=2)
# For CIFAR-10 (JPEG). With the last 40,000 training images and 7 epochs (one seed; 240 s on a core
# with AVX-512 and bfloat16) 60.2% of 2,500 test images are right, 32.9% after PGD (linf, 8/255, 20
# steps); after 6 epochs 30.8%. Figures call a surrogate below 30% weak, so it trains one more.
SMALL = PGD(model="convnet-small-bn", data="both", training=Training(
    "sgd", 0.1, nesterov=True, weight_decay=5e-4, epochs=8.0, batch_size=128, sampling="shuffle",
    schedule="one-cycle", transforms=(Flip(), Crop(), SEARCH)))
# strokes, 3,000 images: 96% clean, 94% at 8/255, 71% at 0.1 in 5 s of one core. With a radius of
# 0.1 in training the network learns nothing in 8 epochs; at a rate of 0.001 it does in 12.
DRAWN = PGD(model="cnn", training=Training(
    "sgd", 0.1, epochs=6.0, batch_size=64, sampling="shuffle", schedule="one-cycle",
    transforms=(Adversarial(radius=16 / 255, step=2.5 * 16 / 255 / 3, steps=3),)))
# dim 32 for CIFAR-10: about 20 minutes of one core. dim 8 for strokes: 8 s; distances of images
# from their reconstructions fall from 8.0 to 3.1, where the class mean is 5.8 away.
GAN_SMALL = GAN(dim=32, iterations=5000, data="both")
GAN_DRAWN = GAN(dim=8, iterations=80, lr=3e-3, steps=100, step=0.5)


def ascent(norm: str, bound: float, *, surrogate: PGD = SMALL, steps: int = 100) -> PGD:
    """PGD within a bound for pixels from 0 to 255, on a surrogate's network and data."""
    eps = bound / 255
    return replace(surrogate, norm=norm, eps=eps, steps=steps, step=REACH * eps / steps)


def standard(surrogate: PGD = SMALL) -> PGD:
    """The same with a network that is trained without adversarial images (section 4.3)."""
    kept = tuple(each for each in surrogate.training.transforms
                 if not isinstance(each, Adversarial))
    return replace(surrogate, training=replace(surrogate.training, transforms=kept))


def black_box(model: str, *, surrogate: PGD = SMALL, images: int | None = None) -> PGD:
    """The same with another architecture, on images that the victim does not use (section 4.6)."""
    if model == surrogate.model:
        raise ValueError(f"black box with model {model!r}: expected another architecture than the "
                         "white-box surrogate's")
    return replace(surrogate, model=model, data="disjoint", images=images)


def latent(tau: float, other: int, *, gan: GAN = GAN_SMALL) -> GAN:
    """Interpolation towards class `other` in a GAN's latent space (section 3.3.1)."""
    return replace(gan, tau=tau, other=other)


def blended(tau: float = 0.2) -> Pixels:
    """Interpolation of pixels with the attacker's own images of other classes (section 4.5)."""
    return Pixels(tau)


def noisy(deviation: float) -> Noise:
    """Gaussian noise of a standard deviation for pixels from 0 to 255 (section 4.4)."""
    return Noise(deviation / 255)
