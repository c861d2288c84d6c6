"""RLPD's update written by hand in JAX, as one jitted function: what bench/learner.py measures ours against.

The same arithmetic as `agent.sac.SAC` with its defaults: ensemble with LayerNorm, a drawn subset of it in the target,
the mean of all critics for the actor, targets that follow after every critic step. No bench itself.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

Params = dict[str, Any]
_DISCOUNT, _RATE, _LEARNING_RATE, _TARGET_ENTROPY_SCALE = 0.97, 0.005, 3e-4, 0.5
_ADAM = optax.adam(_LEARNING_RATE)


class JaxRLPD:
    """Learner with its parameters; `update` changes them in place.

    Args:
        state: Entries of an observation.
        actions: Entries of an action.
        critics: Size of the ensemble.
        subset: Members drawn for each target.
        utd_ratio: Critic updates per call.
        hidden: Width of both hidden layers.
    """

    def __init__(
        self, state: int, actions: int, critics: int, subset: int, utd_ratio: int, hidden: int = 256
    ) -> None:
        keys = jax.random.split(jax.random.key(0), 3)
        actor = _network(keys[0], 1, state, hidden, 2 * actions)
        critic = _network(keys[1], critics, state + actions, hidden, 1)
        target, log_temperature = jax.tree.map(jnp.copy, critic), jnp.log(0.1)
        optimizers = tuple(map(_ADAM.init, (actor, critic, log_temperature)))
        self._carried = actor, critic, target, log_temperature, optimizers, keys[2]
        self._update = jax.jit(
            partial(_update, critics=critics, subset=subset, utd_ratio=utd_ratio), donate_argnums=0
        )

    def update(self, batch: dict[str, np.ndarray]) -> dict[str, float]:
        """`utd_ratio` critic updates, then one of actor and temperature.

        Args:
            batch: Fields of shape (utd_ratio * B, ...): `observation`, `action`, `reward`, `next_observation` and
                `not_terminated`.
        """
        self._carried, metrics = self._update(self._carried, batch)
        return {name: float(value) for name, value in metrics.items()}


def _network(key: jax.Array, members: int, inputs: int, hidden: int, outputs: int) -> Params:
    """Two hidden layers for each member: weights, biases, and scale and shift of the norms."""
    params: Params = {}
    for index, (i, o) in enumerate(((inputs, hidden), (hidden, hidden), (hidden, outputs))):
        key, own = jax.random.split(key)
        bound = 1.0 / math.sqrt(i)
        params[f"w{index}"] = jax.random.uniform(own, (members, i, o), minval=-bound, maxval=bound)
        params[f"b{index}"] = jnp.zeros((members, 1, o))
    for index in range(2):
        params[f"scale{index}"] = jnp.ones((members, 1, hidden))
        params[f"shift{index}"] = jnp.zeros((members, 1, hidden))
    return params


def _apply(params: Params, x: jax.Array) -> jax.Array:
    """Shape (B, inputs) -> (E, B, outputs)."""
    x = jnp.broadcast_to(x, (params["w0"].shape[0], *x.shape))
    for index in range(2):
        x = x @ params[f"w{index}"] + params[f"b{index}"]
        centred = x - x.mean(-1, keepdims=True)
        x = centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)
        x = jax.nn.relu(x * params[f"scale{index}"] + params[f"shift{index}"])
    return x @ params["w2"] + params["b2"]


def _sample(actor: Params, observation: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squashed actions and their log-densities, shape (B,)."""
    mean, log_std = jnp.split(_apply(actor, observation)[0], 2, -1)
    log_std = jnp.clip(log_std, -20.0, 2.0)
    noise = jax.random.normal(key, mean.shape)
    raw = mean + jnp.exp(log_std) * noise
    log_normal = -0.5 * jnp.square(noise) - log_std - 0.5 * math.log(2 * math.pi)
    log_squash = 2.0 * (math.log(2.0) - raw - jax.nn.softplus(-2.0 * raw))
    return jnp.tanh(raw), (log_normal - log_squash).sum(-1)


def _values(critic: Params, observation: jax.Array, action: jax.Array) -> jax.Array:
    """Shape (E, B)."""
    return _apply(critic, jnp.concatenate([observation, action], -1))[..., 0]


def _step(gradient: Any, optimizer: Any, params: Any) -> tuple[Any, Any]:
    change, optimizer = _ADAM.update(gradient, optimizer)
    return optax.apply_updates(params, change), optimizer


def _update(carried: Any, batch: Any, *, critics: int, subset: int, utd_ratio: int) -> tuple[Any, Params]:
    actor, critic, target, log_temperature, (of_actor, of_critic, of_temperature), key = carried

    def learn(carry: Any, rows: Any) -> tuple[Any, jax.Array]:
        critic, target, of_critic, key = carry
        key, draw, noise = jax.random.split(key, 3)
        members = jax.random.permutation(draw, critics)[:subset]
        action, _ = _sample(actor, rows["next_observation"], noise)
        some = jax.tree.map(lambda values: values[members], target)
        value = _values(some, rows["next_observation"], action).min(0)
        wanted = rows["reward"] + _DISCOUNT * rows["not_terminated"] * value

        def loss_of(critic: Params) -> jax.Array:
            error = _values(critic, rows["observation"], rows["action"]) - wanted
            return jnp.square(error).mean(-1).sum()

        loss, gradient = jax.value_and_grad(loss_of)(critic)
        critic, of_critic = _step(gradient, of_critic, critic)
        target = optax.incremental_update(critic, target, _RATE)
        return (critic, target, of_critic, key), loss

    blocks = jax.tree.map(lambda values: values.reshape(utd_ratio, -1, *values.shape[1:]), batch)
    (critic, target, of_critic, key), losses = jax.lax.scan(learn, (critic, target, of_critic, key), blocks)
    key, noise = jax.random.split(key)
    newest = blocks["observation"][-1]

    def actor_loss(actor: Params) -> tuple[jax.Array, jax.Array]:
        action, log_density = _sample(actor, newest, noise)
        value = _values(critic, newest, action).mean(0)
        return (jnp.exp(log_temperature) * log_density - value).mean(), -log_density.mean()

    (loss, entropy), gradient = jax.value_and_grad(actor_loss, has_aux=True)(actor)
    actor, of_actor = _step(gradient, of_actor, actor)
    too_much = entropy + _TARGET_ENTROPY_SCALE * batch["action"].shape[-1]
    log_temperature, of_temperature = _step(too_much, of_temperature, log_temperature)
    carried = (actor, critic, target, log_temperature, (of_actor, of_critic, of_temperature), key)
    return carried, {"critic_loss": losses[-1], "actor_loss": loss, "entropy": entropy}
