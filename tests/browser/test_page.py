"""The status page in a real browser, on made-up data with names that mean it ill."""
import os
import shutil
import subprocess

import pytest

from browser import Browser

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD", "build")
LAYERS = "report export spool verdict probe flow inventory kube io policy base".split()
LIBRARIES = "libbpf libcurl libcares json-c libmicrohttpd yaml-0.1 libmnl sqlite3 zlib".split()


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    binary = str(tmp_path_factory.mktemp("serve") / "serve")
    archives = [f"{BUILD}/lib{layer}.a" for layer in LAYERS]
    subprocess.run(["make", "--no-print-directory", f"BUILD={BUILD}", *archives], cwd=ROOT, check=True,
                   stdout=subprocess.DEVNULL)
    libraries = subprocess.run(["pkg-config", "--libs", *LIBRARIES], check=True, text=True,
                               stdout=subprocess.PIPE).stdout.split()
    subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-Iagent", "-Wall", "-Wextra", "-Werror", "-g", "-o",
                    binary, "tests/browser/serve.c", *archives, *libraries, "-lm"], cwd=ROOT, check=True)
    return binary


@pytest.fixture
def page(serve):
    server = subprocess.Popen([serve, "127.0.0.1:0", "hostile", "live"], stdout=subprocess.PIPE, text=True)
    yield f"http://{server.stdout.readline().strip()}/"
    server.kill()
    server.wait()


@pytest.fixture
def browser(tmp_path):
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if not binary:
        pytest.skip("chromium is not installed: the page was NOT seen by a browser")
    opened = Browser(binary, tmp_path)
    yield opened
    opened.close()


def test_hostile_names_stay_text_and_the_policy_fits(browser, page):
    browser.open(page)
    assert browser.until("document.getElementById('live').textContent === 'live'")
    assert "owned" not in browser.run("document.title")
    assert browser.run("document.images.length") == 0
    assert browser.run("document.scripts.length") == 1
    assert "<script>" in browser.run("document.body.innerText")
    assert browser.run("getComputedStyle(document.querySelector('.banner')).borderRadius") == "10px"
    assert browser.complaints() == []


def test_the_page_follows_events(browser, page):
    """The server opens and resolves a violation every second."""
    browser.open(page)
    shown = "document.querySelector('.banner').textContent"
    assert browser.until(f"{shown}.includes('1 open violation')")
    assert browser.until(f"{shown}.includes('2 open violations')")
    assert browser.until(f"{shown}.includes('1 open violation')")
    assert browser.run("document.title").startswith("(")


def test_it_is_whole_without_javascript(browser, page):
    browser.open(page, javascript=False)
    text = subprocess.run(["curl", "-s", page], check=True, text=True, errors="replace",
                          stdout=subprocess.PIPE).stdout
    assert "open violation" in text and "as of the last load" in text
    root = browser.ask("DOM.getDocument", depth=-1)["root"]["nodeId"]
    live = browser.ask("DOM.querySelector", nodeId=root, selector="#live")["nodeId"]
    assert "as of the last load" in browser.ask("DOM.getOuterHTML", nodeId=live)["outerHTML"]


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_sticks_out(browser, page, width):
    browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
                mobile=width < 700)
    browser.open(page)
    assert browser.run("document.documentElement.scrollWidth") <= width
