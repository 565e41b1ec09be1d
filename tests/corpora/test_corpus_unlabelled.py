"""The corpus without labels: whose voices it has, and whose it leaves out."""

from bench.corpora.embedded import prompts, unlabelled
from bench.corpora.noise.packaged import SOURCES


def test_voices_are_named_by_package_and_folder():
    files = {
        "fillets-ng-data-cs": {
            "./usr/share/games/fillets-ng/sound/airplane/cs/let-m-divna.ogg": b"1",
            "./usr/share/games/fillets-ng/sound/airplane/cs/let-v-divna.ogg": b"2",
            "./usr/share/games/fillets-ng/sound/party/cs/party.ogg": b"3",
            "./usr/share/doc/fillets-ng-data-cs/copyright": b"4",
        },
        "tuxpaint-stamps-default": {
            "./usr/share/tuxpaint/stamps/animals/frog-1_desc_be.ogg": b"5",
            "./usr/share/tuxpaint/stamps/animals/frog-1.ogg": b"6",
        },
        "klettres-data": {"./usr/share/klettres/de/alpha/a.ogg": b"7"},
    }
    voices = {voice.name: list(voice.sounds.values()) for voice in unlabelled.speakers(files)}
    assert voices == {
        "KLETTRES-DE": [b"7"],
        "FILLETS-CS": [b"3"],
        "FILLETS-CS-M": [b"1"],
        "FILLETS-CS-V": [b"2"],
        "TUXPAINT-BE": [b"5"],
    }


def test_no_voice_is_heard_in_a_test():
    """Packages of prompts come as `-wav` and `-g722`, of the same voices."""
    tested = {prompts.SOUND.name}
    tested |= {item.name for name in SOURCES if "unseen" in name for item in SOURCES[name].packages}
    trained = {package.name for package in unlabelled.PACKAGES}
    assert not {name.removesuffix("-g722") for name in tested} & {
        name.removesuffix("-wav") for name in trained
    }
