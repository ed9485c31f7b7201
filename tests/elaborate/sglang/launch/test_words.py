"""Tests of `fibcore.elaborate.sglang.launch.words`."""

import pytest

from fibcore.elaborate.sglang.launch.words import launch_words
from fibcore.errors import UsageError

OPTIONS = ("--tp", "8", "--enable-dp-attention")
TEXT = " ".join(OPTIONS)


@pytest.mark.parametrize(
    "line",
    [
        f"python -m sglang.launch_server {TEXT}",
        f"python3 -m sglang.launch_server {TEXT}",
        f"sglang serve {TEXT}",
        f"/usr/local/bin/sglang serve {TEXT}",
        f"python3 /opt/sglang/launch_server.py {TEXT}",
        TEXT,
        f"SGLANG_X=1 python -m sglang.launch_server {TEXT}",
        "python -m sglang.launch_server \\\n  --tp 8 \\  \n  --enable-dp-attention",
        f"python -m sglang.launch_server {TEXT} > server.log 2>&1 &",
        f"python -m sglang.launch_server {TEXT} 2>/dev/null | tee log",
        f"cd /srv && python -m sglang.launch_server {TEXT} && echo done",
        f"docker run --gpus all --shm-size 32g image python3 -m sglang.launch_server {TEXT}",
        f"python -m sglang.launch_server {TEXT} # the big one",
        f"python -m sglang.launch_server {TEXT}\nsleep 10\n",
        "python -m sglang.launch_server\n  --tp 8\n  --enable-dp-attention",
        f"# don't stop\ncd /srv; python -m sglang.launch_server {TEXT}",
        f"docker run --gpus all image bash -c 'cd /srv && python3 -m sglang.launch_server {TEXT}'",
    ],
)
def test_the_options_of_the_server_are_found(line: str) -> None:
    assert launch_words(line).options == OPTIONS


def test_variables_of_the_environment_stand_before_the_server() -> None:
    words = launch_words("A=1 SGLANG_USE_AITER='x y' python -m sglang.launch_server --tp 2 B=3")
    assert words.variables == {"A": "1", "SGLANG_USE_AITER": "x y"}
    assert words.options == ("--tp", "2", "B=3")


@pytest.mark.parametrize(
    "before",
    [
        "export A=1\nexport B='x y'\n",
        "export A=1 B='x y'; ",
        "export A=1 && env B='x y' ",
        "# one\nexport A=1\nC=3\nB='x y' ",
        "docker run --env=A=1 -e B='x y' --env HF_TOKEN image ",
        "docker run -eA=1 image bash -c \"export B='x y'\n",
    ],
)
def test_variables_are_found_wherever_a_shell_has_them(before: str) -> None:
    end = '"' if '"' in before else ""
    words = launch_words(f"{before}python -m sglang.launch_server {TEXT}{end}")
    assert words.variables == {"A": "1", "B": "x y"}
    assert words.options == OPTIONS


def test_words_that_are_split_already_are_taken_as_they_are() -> None:
    given = ["python", "-m", "sglang.launch_server", "--model-path", "a b"]
    assert launch_words(given).options == ("--model-path", "a b")


@pytest.mark.parametrize("line", ["vllm serve --tp 8", "python train.py --tp 8"])
def test_another_program_is_refused(line: str) -> None:
    with pytest.raises(UsageError, match="does not run SGLang's server"):
        launch_words(line)


def test_quotes_have_to_match() -> None:
    with pytest.raises(UsageError, match="cannot be split into words"):
        launch_words("python -m sglang.launch_server --model-path 'x")
