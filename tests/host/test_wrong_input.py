"""Every wrong input is answered with one sentence that says what to do; the server goes on."""

from __future__ import annotations

import pytest
import torch
from conftest import SMALL
from graphs import Graph, Node, described
from safetensors.torch import save_file

from tools.client import Client, HostError, Prompt
from tools.host import Host
from tools.workflow import PICTURE


def failure(client: Client, prompt: Prompt) -> tuple[str, str]:
    """Node class and sentence of the error a prompt ends with."""
    run = client.run(prompt)
    assert run.error is not None, run.status
    assert run.error["exception_type"].endswith("SVDError"), described(run)
    return run.error["node_type"], run.error["exception_message"].strip()


def assert_one_sentence(text: str) -> None:
    assert "\n" not in text
    assert text.endswith(".")
    assert ". " not in text, text


@pytest.fixture
def graph() -> Graph:
    return Graph()


@pytest.fixture
def model(graph: Graph) -> Node:
    return graph.add("SVD_Loader", checkpoint=SMALL, weight_dtype="auto")


def add_sampler(graph: Graph, model: Node, latent: list, picture: bool = True) -> Node:
    conditioning = graph.add("TestPlainConditioning", picture=picture)[0]
    inputs = {"positive": conditioning, "negative": conditioning, "latent_image": latent}
    settings = {"seed": 0, "steps": 2, "min_cfg": 1.0, "max_cfg": 2.0, "guidance": "linear", "denoise": 1.0}
    node = graph.add("SVD_Sampler", model=model[0], sampler="euler", schedule="karras", **settings, **inputs)
    graph.add("TestSaveTensors", name="never", latent=node[0])
    return node


def test_checkpoint_of_another_family(client: Client, host: Host, graph: Graph) -> None:
    name = "stable_diffusion_15.safetensors"
    save_file(stable_diffusion_15(), host.checkpoints / name)
    loader = graph.add("SVD_Loader", checkpoint=name, weight_dtype="auto")
    add_sampler(graph, loader, graph.add("EmptyLatentImage", width=64, height=64, batch_size=4)[0])
    node, sentence = failure(client, graph.prompt)
    assert node == "SVD_Loader"
    assert name in sentence
    assert_one_sentence(sentence.replace(name, "file"))


def test_truncated_checkpoint(client: Client, host: Host, graph: Graph) -> None:
    name = "half.safetensors"
    whole = (host.checkpoints / SMALL).read_bytes()
    (host.checkpoints / name).write_bytes(whole[: len(whole) // 2])
    loader = graph.add("SVD_Loader", checkpoint=name, weight_dtype="auto")
    add_sampler(graph, loader, graph.add("EmptyLatentImage", width=64, height=64, batch_size=4)[0])
    node, sentence = failure(client, graph.prompt)
    assert node == "SVD_Loader"
    assert_one_sentence(sentence.replace(name, "file"))


def test_conditioning_without_a_picture(client: Client, graph: Graph, model: Node) -> None:
    latent = graph.add("EmptyLatentImage", width=64, height=64, batch_size=4)[0]
    add_sampler(graph, model, latent, picture=False)
    node, sentence = failure(client, graph.prompt)
    assert node == "SVD_Sampler"
    assert "conditioning" in sentence
    assert_one_sentence(sentence)


def test_one_frame(client: Client, graph: Graph, model: Node) -> None:
    add_sampler(graph, model, graph.add("EmptyLatentImage", width=64, height=64, batch_size=1)[0])
    node, sentence = failure(client, graph.prompt)
    assert node == "SVD_Sampler"
    assert "frame" in sentence
    assert_one_sentence(sentence)


def test_latents_of_another_family_in_the_sampler(client: Client, graph: Graph, model: Node) -> None:
    add_sampler(graph, model, graph.add("EmptySD3LatentImage", width=64, height=64, batch_size=4)[0])
    node, sentence = failure(client, graph.prompt)
    assert node == "SVD_Sampler"
    assert "16" in sentence
    assert_one_sentence(sentence)


def test_latents_of_another_family_in_the_decoder(client: Client, graph: Graph, model: Node) -> None:
    latent = graph.add("EmptySD3LatentImage", width=64, height=64, batch_size=4)
    decoded = graph.add("SVD_TemporalVAEDecode", vae=model[2], samples=latent[0], frames_at_once=0)
    graph.add("TestSaveTensors", name="never", image=decoded[0])
    node, sentence = failure(client, graph.prompt)
    assert node == "SVD_TemporalVAEDecode"
    assert "16" in sentence
    assert_one_sentence(sentence)


@pytest.mark.parametrize("frames", [0, 1])
def test_too_few_frames_are_refused_before_anything_runs(
    client: Client, graph: Graph, model: Node, frames: int
) -> None:
    picture = graph.add("LoadImage", image=client.upload_image(PICTURE))
    embedding = graph.add("SVD_CLIPImageEncode", clip_vision=model[1], image=picture[0], fit="squash")
    settings = {"width": 64, "height": 64, "fit": "crop", "motion_bucket_id": 127, "fps": 7}
    settings |= {"augmentation_level": 0.0, "seed": 0, "video_frames": frames}
    node = graph.add(
        "SVD_VAEEncodeConditioning", vae=model[2], image=picture[0], clip_vision_output=embedding[0], **settings
    )
    graph.add("TestSaveTensors", name="never", latent=node[2])
    with pytest.raises(HostError) as refused:
        client.queue(graph.prompt)
    (error,) = refused.value.body["node_errors"][node.id]["errors"]
    assert error["type"] == "value_smaller_than_min"


def stable_diffusion_15() -> dict[str, torch.Tensor]:
    """Enough of that family's names and shapes to be recognised."""
    unet, text = "model.diffusion_model.", "cond_stage_model.transformer.text_model."
    shapes = {
        f"{unet}input_blocks.0.0.weight": (320, 4, 3, 3),
        f"{unet}input_blocks.0.0.bias": (320,),
        f"{unet}time_embed.0.weight": (1280, 320),
        f"{unet}input_blocks.1.1.proj_in.weight": (320, 320, 1, 1),
        f"{unet}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
        f"{unet}out.2.weight": (4, 320, 3, 3),
        f"{text}embeddings.position_embedding.weight": (77, 768),
        f"{text}encoder.layers.0.self_attn.q_proj.weight": (768, 768),
        "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
        "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
    }
    return {name: torch.zeros(shape, dtype=torch.float16) for name, shape in shapes.items()}
