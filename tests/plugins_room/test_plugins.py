"""Plugins are found, named and checked before anything runs; what is wrong stops the start with one line."""

import os
from pathlib import Path

import pytest

import streamcal
from streamcal.errors import PluginError
from streamcal.plugins import BUILTIN_PLUGINS, list_plugin_files, load_plugins

NOT_ROOT = os.geteuid() != 0


def test_builtin_stages_come_by_the_same_door():
    """They are plugins like any other, with the version of streamcal."""
    infos = {info.name: info for info in load_plugins().describe()}
    for name in BUILTIN_PLUGINS:
        assert infos[name].hooks == ("streamcal_stages",)
        assert infos[name].version == streamcal.__version__
        assert infos[name].path.endswith(f"streamcal/stages/{name}.py")


def test_plugin_file_is_loaded(write_plugin, load, stage_text):
    """Its name is that of the file, its version what it says itself."""
    path = write_plugin("mine", '__version__ = "7"\n' + stage_text("flatness"))
    plugins = load()
    info = next(info for info in plugins.describe() if info.name == "mine")
    assert (info.version, info.path, info.hooks, info.stages) == ("7", str(path), ("streamcal_stages",), ("flatness",))
    assert plugins.plugin_of("flatness") == "mine"
    assert plugins.version_of("mine") == "7"


def test_plugin_without_version_has_none(write_plugin, load, stage_text):
    """That is an empty text."""
    write_plugin("mine", stage_text("flatness"))
    assert load().version_of("mine") == ""


def test_installed_plugin_is_loaded(install, stage_text):
    """Its name is that of the entry point, its version that of the package."""
    install("fake_flatness", stage_text("flatness"), entry="flat-plugin")
    plugins = load_plugins()
    assert plugins.plugin_of("flatness") == "flat-plugin"
    assert plugins.version_of("flat-plugin") == "1.2.3"


def test_a_plugin_may_be_an_object(install):
    """It has the file of its module: that is what a cluster's workers compare."""
    text = """
    class Plugin:
        @hookimpl
        def streamcal_stages(self):
            return [Stage(name="flatness", kind="pair", run=print)]

    plugin = Plugin()
    """
    install("fake_flatness", text, entry="flat-plugin", attribute=":plugin")
    info = next(info for info in load_plugins().describe() if info.name == "flat-plugin")
    assert (Path(info.path).name, info.stages) == ("fake_flatness.py", ("flatness",))


def test_only_python_files_of_the_folder_itself_count(folder, write_plugin):
    """Hidden ones, those that begin with an underscore, other files and folders below are passed over."""
    wanted = [write_plugin("b", ""), write_plugin("a", "")]
    for name in ("_helper", ".hidden"):
        write_plugin(name, "raise SystemError")
    (folder / "notes.txt").touch()
    (folder / "deeper").mkdir()
    (folder / "deeper" / "c.py").touch()
    assert list_plugin_files(folder) == sorted(wanted)


def test_plugin_that_offers_nothing_is_listed(write_plugin, load):
    """It may yet want to be seen."""
    write_plugin("idle", "")
    assert next(info for info in load().describe() if info.name == "idle").hooks == ()


@pytest.mark.parametrize("name", ["mine", "gain"])
def test_disabled_plugin_is_not_loaded(name, write_plugin, load, stage_text):
    """Neither a file nor a built-in stage."""
    write_plugin("mine", stage_text("flatness"))
    assert name not in [info.name for info in load(disabled=[name]).describe()]


def test_disabled_file_is_not_even_run(write_plugin, load):
    """What it would do on import does not happen."""
    write_plugin("broken", "raise SystemError")
    assert "broken" not in [info.name for info in load(disabled=["broken"]).describe()]


def test_disabled_entry_point_is_not_imported(install):
    """A broken package can be left out."""
    install("fake_broken", "raise SystemError", entry="broken-plugin")
    assert "broken-plugin" not in [info.name for info in load_plugins(disabled=["broken-plugin"]).describe()]


def test_file_is_read_again_when_it_changes(write_plugin, load, stage_text):
    """No cache is believed, or left in the folder."""
    path = write_plugin("mine", stage_text("before"))
    load()
    write_plugin("mine", stage_text("behind"))
    assert "behind" in load().stages
    assert [entry.name for entry in path.parent.iterdir()] == ["mine.py"]


def test_cache_of_somebody_else_is_not_run(folder, write_plugin, load, stage_text):
    """A compiled file beside the plugin is ignored, however it got there."""
    import importlib.util
    import py_compile

    path = write_plugin("mine", "raise SystemError")
    cache = Path(importlib.util.cache_from_source(path))
    py_compile.compile(path, cache, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    write_plugin("mine", stage_text("flatness"))
    assert "flatness" in load().stages


def refuse(load, *words):
    """Check that loading fails with a message of one line that holds all these words."""
    with pytest.raises(PluginError) as caught:
        load()
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


def test_misspelled_hook_stops_the_start(write_plugin, load):
    """The message names plugin, hook and the hooks that there are."""
    write_plugin("mine", "@hookimpl\ndef streamcal_stage():\n    return []")
    refuse(load, "'mine': unknown hook 'streamcal_stage', known: streamcal_instruments, streamcal_stages")


def test_unmarked_hook_stops_the_start(write_plugin, load):
    """Without the marker it would be silently ignored."""
    write_plugin("mine", "def streamcal_stages():\n    return []")
    refuse(load, "'mine'", "streamcal_stages", "@hookimpl")


def test_hook_with_unknown_argument_stops_the_start(write_plugin, load):
    """The message names plugin and argument."""
    write_plugin("mine", "@hookimpl\ndef streamcal_stages(config):\n    return []")
    refuse(load, "'mine'", "config")


def test_doubled_stage_stops_the_start(write_plugin, load, stage_text):
    """Both plugins are named."""
    write_plugin("one", stage_text("flatness"))
    write_plugin("other", stage_text("flatness"))
    refuse(load, "stage 'flatness' is offered twice", "'one'", "'other'")


def test_stage_named_as_a_builtin_one_stops_the_start(write_plugin, load, stage_text):
    """Nobody replaces `gain` by accident."""
    write_plugin("mine", stage_text("gain"))
    refuse(load, "stage 'gain' is offered twice", "'mine'")


def test_doubled_plugin_file_stops_the_start(tmp_path, write_plugin, folder, stage_text):
    """One name in two folders; both files are named."""
    first = write_plugin("mine", stage_text("flatness"))
    second = tmp_path / "more"
    second.mkdir(mode=0o755)
    (second / "mine.py").write_text("")
    (second / "mine.py").chmod(0o644)
    refuse(lambda: load_plugins([folder, second]), "'mine' is there twice", str(first), str(second / "mine.py"))


def test_doubled_entry_point_stops_the_start(install, stage_text):
    """Two packages under one name are not passed over in silence."""
    install("fake_one", stage_text("flatness"), entry="same-plugin")
    install("fake_other", stage_text("roundness"), entry="same-plugin")
    refuse(load_plugins, "'same-plugin' is there twice", "fake_one.py", "fake_other.py")


def test_entry_point_named_as_a_builtin_plugin_stops_the_start(install, stage_text):
    """It does not vanish behind it."""
    install("fake_isr", stage_text("flatness"), entry="isr")
    refuse(load_plugins, "'isr' is there twice", "fake_isr.py")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("def broken(:", "SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
    ],
)
def test_file_that_cannot_be_imported_stops_the_start(text, error, write_plugin, load):
    """The message names the file and what went wrong."""
    path = write_plugin("mine", text)
    refuse(load, str(path), error)


def test_entry_point_that_cannot_be_imported_stops_the_start(install):
    """The message names plugin, module, package and what went wrong."""
    install("fake_failing", "import no_such_module", entry="failing-plugin")
    refuse(load_plugins, "'failing-plugin' (fake_failing of fake_failing)", "No module named 'no_such_module'")


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("1 / 0", "streamcal_stages failed: ZeroDivisionError"),
        ("exit(3)", "streamcal_stages failed: SystemExit"),
        ("['gain']", "must give Stage objects, got 'gain'"),
        ("Stage(name='x', kind='pair', run=print)", "'Stage' object is not iterable"),
    ],
)
def test_hook_that_gives_no_stages_stops_the_start(returned, words, write_plugin, load):
    """The message names plugin and hook."""
    write_plugin("mine", f"@hookimpl\ndef streamcal_stages():\n    return {returned}")
    refuse(load, "'mine'", words)


def test_hook_may_give_nothing_or_a_generator(write_plugin, load):
    """None is an offer of nothing."""
    write_plugin("none", "@hookimpl\ndef streamcal_stages():\n    pass")
    write_plugin("some", "@hookimpl\ndef streamcal_stages():\n    yield Stage(name='x', kind='pair', run=print)")
    assert load().plugin_of("x") == "some"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("name='my stage'", "name must be"),
        ("name='a:b'", "name must be"),
        ("kind='pairs'", "kind must be 'exposure' or 'pair', got 'pairs'"),
        ("run='measure'", "run must be a function, got 'measure'"),
        ("settings={}", "settings must be a model, got {}"),
        ("settings=int", "settings must be a model"),
        ("requires='overscan'", "requires must be a tuple of names, got 'overscan'"),
        ("provides=(1,)", "provides must be a tuple of names, got (1,)"),
        ("columns=Column(name='x', type='bool', unit='', description='X.')", "columns must be a tuple of Column"),
        ("columns=('x',)", "columns must be a tuple of Column objects, got ('x',)"),
    ],
)
def test_impossible_stage_stops_the_start(change, rule, write_plugin, load):
    """What annotations ask for is checked; a forgotten comma makes a text of a tuple."""
    write_plugin(
        "mine",
        f"""
        @hookimpl
        def streamcal_stages():
            return [Stage(**{{**dict(name="x", kind="pair", run=print), **dict({change})}})]
        """,
    )
    refuse(load, "plugin 'mine'", rule)


INSTRUMENT = "@hookimpl\ndef streamcal_instruments():\n    return [InstrumentTable(name='{}', table={{}})]"


def test_instruments_are_collected(write_plugin, load):
    """They appear by name and beside their plugin."""
    write_plugin("mine", INSTRUMENT.format("bench"))
    plugins = load()
    assert plugins.instruments["bench"].table == {}
    assert next(info for info in plugins.describe() if info.name == "mine").instruments == ("bench",)


def test_doubled_instrument_stops_the_start(write_plugin, load):
    """Both plugins are named."""
    write_plugin("one", INSTRUMENT.format("bench"))
    write_plugin("other", INSTRUMENT.format("bench"))
    refuse(load, "instrument 'bench' is offered twice", "'one'", "'other'")


def test_instrument_named_as_a_shipped_one_stops_the_start(write_plugin, load):
    """The configuration that says "esis" means ours."""
    write_plugin("mine", INSTRUMENT.format("esis"))
    refuse(load, "instrument 'esis' of plugin 'mine' comes with streamcal already")


def test_missing_folder_stops_the_start(tmp_path):
    """The message names it."""
    refuse(lambda: load_plugins([tmp_path / "nowhere"]), "plugin path", "nowhere", "No such file or directory")


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777])
def test_folder_that_others_can_write_is_refused(mode, folder, write_plugin, load):
    """Also a sticky one: others could add files to it. The message says what to do."""
    write_plugin("mine", "")
    folder.chmod(mode)
    refuse(load, str(folder), "can be written by other users", f"chmod go-w {folder}")


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_file_that_others_can_write_is_refused(mode, write_plugin, load):
    """The message says what to do."""
    path = write_plugin("mine", "")
    path.chmod(mode)
    refuse(load, f"chmod go-w {path}")


def test_folder_that_others_can_replace_is_refused(tmp_path, load):
    """The folder above is open: whoever writes it can put another folder in place of ours."""
    tmp_path.chmod(0o777)
    refuse(load, f"chmod go-w {tmp_path}")
    tmp_path.chmod(0o1777)
    load()


def test_link_is_judged_by_where_it_leads(tmp_path, folder, load):
    """A link to a file in an open folder is that file."""
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    (open_folder / "real.py").touch(mode=0o644)
    (folder / "mine.py").symlink_to(open_folder / "real.py")
    refuse(load, str(folder / "mine.py"), f"chmod go-w {open_folder}")


def test_dangling_link_stops_the_start(folder, load):
    """Its file cannot be read."""
    (folder / "mine.py").symlink_to(folder / "gone")
    refuse(load, str(folder / "mine.py"), "No such file or directory")


@pytest.mark.skipif(NOT_ROOT, reason="only root can give files away")
def test_file_of_another_user_is_refused(write_plugin, load):
    """Its owner can change it at any time."""
    path = write_plugin("mine", "")
    os.chown(path, 12345, -1)
    refuse(load, str(path), "belongs to another user (uid 12345)")
