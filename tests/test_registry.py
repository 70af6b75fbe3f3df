"""Which backend serves a call: order, forcing, errors, one log line, isolation of contexts."""

import contextlib
import logging
import threading
from contextvars import copy_context

import pytest
import torch

import subkern
from subkern.backends import BACKENDS, BackendUnavailableError, registry

OP = "toy"


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """A registry that knows the op "toy" alone, with a log of who served what."""
    monkeypatch.setattr(registry, "_table", {})
    monkeypatch.setattr(registry, "_logged", set())
    served = []

    def add(name, reason=None):
        registry.register(OP, name, lambda **call: reason)(lambda **call: served.append(name))

    return add, served


def run(device="cpu", explicit=None, **call):
    registry.run(OP, device, call, explicit)


@pytest.mark.parametrize(
    ("device", "present", "chosen"),
    [
        ("cpu", BACKENDS, "cpu"),
        ("cpu", ("reference", "triton", "cuda"), "reference"),
        ("cuda", BACKENDS, "cuda"),
        ("cuda", ("reference", "cpu", "triton"), "triton"),
        ("cuda", ("reference", "cpu"), "reference"),
        ("xpu", BACKENDS, "reference"),
    ],
)
def test_order(toy, device, present, chosen):
    add, served = toy
    for name in present:
        add(name)
    run(device)
    assert served == [chosen]


def test_one_that_cannot_serve_is_passed_over_and_logged_once(toy, caplog):
    add, served = toy
    add("cpu", "needs an even number")
    add("reference")
    with caplog.at_level(logging.WARNING, logger="subkern"):
        run()
        run()
    assert served == ["reference", "reference"]
    assert [r.getMessage() for r in caplog.records] == [
        "toy: reference serves the call, cpu needs an even number"
    ]


def test_another_reason_is_logged_too(toy, caplog):
    add, _ = toy
    add("cpu", "needs an even number")
    add("reference")
    with caplog.at_level(logging.WARNING, logger="subkern"):
        run()
        add("cpu", "needs a prime")
        run()
    assert len(caplog.records) == 2


def test_nobody_can(toy):
    add, _ = toy
    add("cpu", "needs an even number")
    add("reference", "is on holiday")
    expected = (
        "toy: no backend can serve this cpu call: cpu needs an even number; reference is on holiday"
    )
    with pytest.raises(BackendUnavailableError) as error:
        run()
    assert str(error.value) == expected
    assert isinstance(error.value, RuntimeError)


def test_can_serve_sees_the_call(toy):
    registry.register(OP, "cpu", lambda n: None if n % 2 == 0 else f"needs even n, got {n}")(
        lambda n: None
    )
    run(n=2)
    with pytest.raises(BackendUnavailableError, match="needs even n, got 3"):
        run(n=3)


@pytest.mark.parametrize("how", ["argument", "context", "environment"])
@pytest.mark.parametrize("name", BACKENDS)
def test_forced(toy, monkeypatch, how, name):
    add, served = toy
    for each in BACKENDS:
        add(each)
    if how == "argument":
        run(explicit=name)
    elif how == "context":
        with subkern.backend(name):
            run()
    else:
        monkeypatch.setenv("SUBKERN_BACKEND", name)
        run()
    assert served == [name]


def test_argument_wins_over_context_wins_over_environment(toy, monkeypatch):
    add, served = toy
    for each in BACKENDS:
        add(each)
    monkeypatch.setenv("SUBKERN_BACKEND", "cuda")
    with subkern.backend("triton"):
        run(explicit="reference")
        run()
    run()
    monkeypatch.setenv("SUBKERN_BACKEND", "")  # empty means unset
    run()
    assert served == ["reference", "triton", "cuda", "cpu"]


@pytest.mark.parametrize("how", ["argument", "context", "environment"])
def test_forced_but_unable_raises_instead_of_falling_back(toy, monkeypatch, how):
    add, served = toy
    add("cpu", "needs an even number")
    add("reference")
    message = "^toy: backend 'cpu' was asked for but needs an even number$"
    if how == "environment":
        monkeypatch.setenv("SUBKERN_BACKEND", "cpu")
    context = subkern.backend("cpu" if how == "context" else "reference")
    explicit = "cpu" if how == "argument" else None
    with pytest.raises(BackendUnavailableError, match=message):  # noqa: PT012 (needs the context)
        if how == "environment":
            run()
        with context:
            run(explicit=explicit)
    assert served == []


def test_forced_but_without_a_kernel(toy):
    with pytest.raises(
        BackendUnavailableError,
        match="toy: backend 'cuda' was asked for but has no kernel for toy",
    ):
        run(explicit="cuda")


@pytest.mark.parametrize("how", ["context", "environment"])
def test_a_forced_backend_may_be_forgotten_where_it_has_no_kernel(toy, monkeypatch, how):
    add, served = toy
    add("reference")
    add("cpu")
    for name in ("triton", "reference"):
        if how == "environment":
            monkeypatch.setenv("SUBKERN_BACKEND", name)
        with subkern.backend(name) if how == "context" else contextlib.nullcontext():
            with registry.unless_absent(OP):
                run()
            if name == "triton":
                with pytest.raises(BackendUnavailableError):
                    run()
    assert served == ["cpu", "reference"]


@pytest.mark.parametrize("name", ["CPU", "gpu", "reference ", ""])
def test_unknown_names(toy, monkeypatch, name):
    add, _ = toy
    add("reference")
    choices = "backend must be one of reference, cpu, triton, cuda, got "
    with (
        pytest.raises(ValueError, match=f"subkern.backend: {choices}{name!r}"),
        subkern.backend(name),
    ):
        pass
    with pytest.raises(ValueError, match=f"backend=: {choices}{name!r}"):
        run(explicit=name)
    with pytest.raises(ValueError, match="register: "):
        registry.register(OP, name, lambda **call: None)
    if name:
        monkeypatch.setenv("SUBKERN_BACKEND", name)
        with pytest.raises(ValueError, match=f"SUBKERN_BACKEND: {choices}{name!r}"):
            run()


def test_context_nests_and_unwinds(toy):
    add, served = toy
    for each in BACKENDS:
        add(each)
    with subkern.backend("triton"):
        with pytest.raises(KeyError), subkern.backend("cuda"):  # noqa: PT012 (the context is tested)
            run()
            raise KeyError
        run()
    run()
    assert served == ["cuda", "triton", "cpu"]


def test_threads_and_contexts_keep_their_own(toy):
    add, served = toy
    for each in BACKENDS:
        add(each)
    with subkern.backend("triton"):
        inside = copy_context()
        thread = threading.Thread(target=run)  # a new thread starts with an empty context
        thread.start()
        thread.join()
        run()
    inside.run(run)
    assert served == ["cpu", "triton", "triton"]


def test_implementations(toy):
    add, _ = toy
    add("cpu")
    registry.register("other", "cpu", lambda **call: None)(print)
    assert [(i.op, i.backend) for i in registry.implementations()] == [
        ("toy", "cpu"),
        ("other", "cpu"),
    ]
    assert [i.op for i in registry.implementations("toy")] == ["toy"]


class TestRealOps:
    """The registered ops of the package, through their public functions."""

    @pytest.fixture(autouse=True)
    def toy(self):
        """The real registry instead of the toy."""

    @staticmethod
    def arguments(dtype=torch.float32):
        zeros = [torch.zeros(4, dtype=dtype) for _ in range(4)]
        return [[t] for t in zeros] + [[torch.zeros(())], [torch.zeros(())]]

    def test_reference_serves_what_the_cpu_refuses(self, caplog, monkeypatch):
        monkeypatch.setattr(registry, "_logged", set())
        with caplog.at_level(logging.WARNING, logger="subkern"):
            for _ in range(2):
                subkern.ops.adam_(*self.arguments(torch.float64), lr=0.1)
        assert len(caplog.records) == 1
        message = caplog.records[0].getMessage()
        assert message.startswith("adam: reference serves the call, cpu ")

    @pytest.mark.parametrize("how", ["argument", "context", "environment"])
    @pytest.mark.parametrize("name", ["cpu", "triton", "cuda"])
    def test_forced(self, how, name, monkeypatch):
        arguments = self.arguments(torch.float64)  # which no kernel serves
        if how == "environment":
            monkeypatch.setenv("SUBKERN_BACKEND", name)
        context = subkern.backend(name) if how == "context" else subkern.backend("reference")
        with pytest.raises(BackendUnavailableError, match=f"^adam: backend '{name}' was asked"):  # noqa: PT012
            if how == "environment":
                subkern.ops.adam_(*arguments, lr=0.1)
            with context:
                subkern.ops.adam_(*arguments, lr=0.1, backend=name if how == "argument" else None)
        assert arguments[4][0] == 0
