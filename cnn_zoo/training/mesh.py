"""Devices: one mesh with a `data` axis over all of them, on any number of hosts."""

import os
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_zoo.errors import UserError


def initialize_processes() -> None:
  """Joins the processes of a multi-host job where the environment says that there are several.

  srun, Open MPI and TPU_WORKER_HOSTNAMES say so. Elsewhere set JAX_COORDINATOR_ADDRESS (host:port of process 0),
  JAX_NUM_PROCESSES and JAX_PROCESS_ID. Must run before the first use of a device.
  """
  env = os.environ
  if "JAX_COORDINATOR_ADDRESS" in env and "JAX_NUM_PROCESSES" in env:
    jax.distributed.initialize(num_processes=int(env["JAX_NUM_PROCESSES"]), process_id=int(env["JAX_PROCESS_ID"]))
  elif (
    "," in env.get("TPU_WORKER_HOSTNAMES", "")
    or ("SLURM_STEP_NODELIST" in env and int(env.get("SLURM_NTASKS", 1)) > 1)
    or int(env.get("OMPI_COMM_WORLD_SIZE", 1)) > 1
  ):
    jax.distributed.initialize()


def create_mesh() -> Mesh:
  """All devices along one axis, `data`; those of a process are next to each other, and so are its rows of a batch.

  Example:
    >>> create_mesh().axis_names
    ('data',)
  """
  devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
  return Mesh(np.asarray(devices), ("data",))


def platform(mesh: Mesh) -> str:
  """The platform of the devices: "cpu", "gpu" or "tpu"."""
  return mesh.devices.flat[0].platform


def replicated(mesh: Mesh) -> NamedSharding:
  """The same array on every device."""
  return NamedSharding(mesh, PartitionSpec())


def sharded(mesh: Mesh) -> NamedSharding:
  """The first axis split over the devices."""
  return NamedSharding(mesh, PartitionSpec("data"))


def check_batch(batch_size: int, accumulate: int, mesh: Mesh) -> None:
  """Checks that every device gets the same number of examples in each part of a step.

  Args:
    batch_size: examples in a step.
    accumulate: parts of a step.
    mesh: of the devices.

  Raises:
    UserError: if it does not.
  """
  if batch_size % (mesh.size * accumulate):
    parts = f" x config.accumulate={accumulate}" if accumulate > 1 else ""
    raise UserError(
      f"config.batch_size={batch_size} does not divide over {mesh.size} devices{parts}; "
      f"valid: multiples of {mesh.size * accumulate}"
    )


def replicate(tree: Any, mesh: Mesh) -> Any:
  """Puts arrays that every process has on every device.

  `jax.device_put` of JAX 0.10 makes arrays that several processes cannot save.
  """
  return jax.tree.map(lambda x: jax.make_array_from_process_local_data(replicated(mesh), np.asarray(x)), tree)


def shard_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """The global batch, split over all devices, from the rows of this process.

  Args:
    batch: {name: the rows of this process}, as `cnn_zoo.data.train_batches` yields it.
    mesh: of all devices.

  Returns:
    {name: array of all rows}.

  Example:
    >>> batch = shard_batch({"label": np.zeros(8, np.int32)}, create_mesh())
    >>> batch["label"].shape, batch["label"].sharding.is_equivalent_to(sharded(create_mesh()), 1)
    ((8,), True)
  """
  return {k: jax.make_array_from_process_local_data(sharded(mesh), v) for k, v in batch.items()}
