#!/usr/bin/env python3
"""Train a small model on made data, by one process or by all tasks of a Slurm step, and go on from a checkpoint.

    python3 train.py --steps 100
    srun -N2 --ntasks-per-node=4 --container=IMAGE.sif python3 train.py --distributed --checkpoint run.pt

The tasks share each batch and add up their gradients, so that any number of them computes what one computes, up to the
order of additions in float64. What a step trains on depends on its number only: a run that goes on from a checkpoint
does what it would have done. The last line is JSON: the loss, and how it came about.
"""

import argparse
import contextlib
import datetime
import json
import os
import re
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

SAMPLES, FEATURES, HIDDEN, BATCH = 4096, 16, 64, 256
SEED = 2026
TIMEOUT = datetime.timedelta(seconds=120)  # for what a task waits of another


def first_node(nodes):
    """The first name of Slurm's node list: `c[001-002,007],gpu1` begins with c001. The image has no scontrol to ask."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes).group()
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first)


def join():
    """Meet the other tasks of the step; the first task, which is on the first node, is where they meet."""
    job, rank, size = (int(os.environ[name]) for name in ("SLURM_JOB_ID", "SLURM_PROCID", "SLURM_NTASKS"))
    address = first_node(os.environ["SLURM_STEP_NODELIST"])
    port = 20000 + job % 10000
    dist.init_process_group("gloo", f"tcp://{address}:{port}", rank=rank, world_size=size, timeout=TIMEOUT)


def make_data():
    """Samples of a function that the model can learn, the same in every process."""
    generator = torch.Generator().manual_seed(SEED)
    inputs = torch.randn(SAMPLES, FEATURES, generator=generator, dtype=torch.float64)
    weights = torch.randn(FEATURES, generator=generator, dtype=torch.float64)
    return inputs, torch.sin(inputs @ weights / FEATURES**0.5).unsqueeze(1)


def make_model():
    torch.manual_seed(SEED)
    layers = torch.nn.Linear(FEATURES, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, 1)
    return torch.nn.Sequential(*layers).double()


def choose_batch(step):
    """The samples of a step, by its number alone."""
    return torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(SEED + step))[:BATCH]


def save(path, state):
    """Write a checkpoint whole or not at all, and see it on the disk."""
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def load(path, rank):
    """The checkpoint, read by the first task for all: they must not go on from different ones. None without one."""
    found = [None]
    if path and rank == 0:
        with contextlib.suppress(FileNotFoundError):
            found = [torch.load(path, weights_only=True)]
    if dist.is_initialized():
        dist.broadcast_object_list(found)
    return found[0]


def mean_loss(model, inputs, targets, rank, size):
    """The loss over all samples, of which each task looks at its own."""
    with torch.no_grad():
        total = (model(inputs[rank::size]) - targets[rank::size]).square().sum()
    if dist.is_initialized():
        dist.all_reduce(total)
    return total.item() / SAMPLES


def train(steps, checkpoint, every, pause):
    rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if BATCH % size:
        raise SystemExit(f"a batch of {BATCH} cannot be shared equally by {size} tasks")
    inputs, targets = make_data()
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    state = load(checkpoint, rank)
    begin = 0
    if state:
        begin = state["step"]
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    if rank == 0:
        print(f"{size} processes, from step {begin} to {steps}", flush=True)
    # It takes the mean of the tasks' gradients; as their shares are equal, that is the gradient of the whole batch.
    shared = DistributedDataParallel(model) if dist.is_initialized() else model
    for step in range(begin, steps):
        own = choose_batch(step)[rank::size]
        optimizer.zero_grad()
        (shared(inputs[own]) - targets[own]).square().mean().backward()
        optimizer.step()
        time.sleep(pause)
        if rank == 0 and checkpoint and (step + 1) % every == 0:
            save(checkpoint, {"step": step + 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()})
            print(f"checkpoint at step {step + 1}", flush=True)
    loss = mean_loss(model, inputs, targets, rank, size)
    if rank == 0:
        where = {"nodes": os.environ.get("SLURM_STEP_NODELIST"), "gpus": os.environ.get("SLURM_GPUS_ON_NODE")}
        print(json.dumps({"steps": steps, "processes": size, **where, "resumed_from": begin, "loss": loss}), flush=True)


def main():
    parser = argparse.ArgumentParser(description="Train a small model on made data.")
    parser.add_argument("--distributed", action="store_true", help="one of the tasks of a Slurm step")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="go on from FILE if it is there, and keep it")
    parser.add_argument("--every", type=int, default=20, metavar="STEPS", help="how often FILE is written")
    parser.add_argument("--pause", type=float, default=0, metavar="SECONDS", help="wait after each step")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.distributed:
        join()
    train(given.steps, given.checkpoint, given.every, given.pause)
    if given.distributed:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
