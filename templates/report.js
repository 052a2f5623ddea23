'use strict';
(function () {
  var root = document.documentElement;
  root.classList.add('js');
  function byId(id) { return document.getElementById(id); }
  function all(what, within) { return Array.prototype.slice.call((within || document).querySelectorAll(what)); }
  var findings = all('.finding');
  var maps = all('.map');
  var canvas = byId('canvas');
  var told = byId('chosen');
  var invitation = told ? told.textContent : '';
  var spoken = byId('spoken');
  var chosen = 0;

  function stored(value) {
    try {
      if (value === undefined) return localStorage.getItem('eks-doctor-theme');
      localStorage.setItem('eks-doctor-theme', value);
    } catch (_) { /* A file may have no storage. */ }
    return null;
  }

  // Theme: that of the system, light, dark.
  var themes = ['system', 'light', 'dark'];
  var theme = Math.max(0, themes.indexOf(stored() || 'system'));
  function paint() {
    if (theme === 0) root.removeAttribute('data-theme'); else root.setAttribute('data-theme', themes[theme]);
    byId('theme').textContent = 'Theme: ' + themes[theme];
  }
  byId('theme').addEventListener('click', function () {
    theme = (theme + 1) % themes.length;
    stored(themes[theme]);
    paint();
  });
  paint();

  function open(finding, yes) {
    finding.classList.toggle('open', yes);
    finding.querySelector('.head').setAttribute('aria-expanded', String(yes));
  }

  function intoView(about) {
    if (!canvas || !about) return;
    var box = about.getBoundingClientRect();
    var frame = canvas.getBoundingClientRect();
    if (!box.width && !box.height) return;
    canvas.scrollTo({
      left: canvas.scrollLeft + box.left - frame.left + (box.width - frame.width) / 2,
      top: canvas.scrollTop + box.top - frame.top + (box.height - frame.height) / 2,
    });
  }

  function choose(number) {
    chosen = number;
    findings.forEach(function (finding) {
      finding.classList.toggle('chosen-one', Number(finding.dataset.finding) === number);
    });
    if (!maps.length) return;
    all('.about').forEach(function (about) { about.classList.toggle('on', about.id === 'path-' + number); });
    maps.forEach(function (map) { map.classList.toggle('chosen-map', number > 0); });
    told.classList.toggle('on', number > 0);
    if (number > 0) {
      var finding = byId('f' + number);
      told.textContent = finding.querySelector('.message').textContent;
      intoView(byId('path-' + number));
    } else {
      told.textContent = invitation;
    }
  }

  function remember(number) {
    var place = number > 0 ? '#f' + number : location.pathname + location.search;
    try { history.replaceState(null, '', place); } catch (_) { /* Some viewers forbid it. */ }
  }

  function pick(number, scroll) {
    var finding = byId('f' + number);
    if (!finding) return;
    open(finding, true);
    choose(number);
    remember(number);
    if (scroll) finding.scrollIntoView({ block: 'nearest' });
  }

  findings.forEach(function (finding) {
    open(finding, false);
    var number = Number(finding.dataset.finding);
    finding.querySelector('.head').addEventListener('click', function () {
      var closes = finding.classList.contains('open') && chosen === number;
      if (closes) {
        open(finding, false);
        choose(0);
        remember(0);
      } else {
        pick(number, false);
      }
    });
  });
  all('[data-show]').forEach(function (link) {
    link.addEventListener('click', function (event) {
      event.preventDefault();
      pick(Number(link.dataset.show), false);
      canvas.scrollIntoView({ block: 'nearest' });
    });
  });
  all('a.mark').forEach(function (mark) {
    mark.addEventListener('click', function (event) {
      event.preventDefault();
      pick(Number(mark.dataset.finding), true);
    });
  });

  function step(by) {
    if (!findings.length) return;
    var order = findings.map(function (finding) { return Number(finding.dataset.finding); });
    var at = order.indexOf(chosen);
    var next = at < 0 ? (by > 0 ? 0 : order.length - 1) : (at + by + order.length) % order.length;
    pick(order[next], true);
  }
  function clear() {
    choose(0);
    remember(0);
  }
  if (maps.length) {
    byId('previous').addEventListener('click', function () { step(-1); });
    byId('next').addEventListener('click', function () { step(1); });
    byId('clear').addEventListener('click', clear);
  }
  document.addEventListener('keydown', function (event) {
    if (event.key === 'Escape') clear();
  });

  function copied(button, well) {
    button.textContent = well ? 'Copied' : 'Press Ctrl+C';
    spoken.textContent = well ? 'Commands copied' : 'The commands are selected: copy them with Ctrl+C';
    setTimeout(function () { button.textContent = 'Copy'; }, 2000);
  }
  all('.copy').forEach(function (button) {
    button.addEventListener('click', function () {
      var code = button.parentNode.querySelector('pre');
      function select() {
        var range = document.createRange();
        range.selectNodeContents(code);
        var selection = getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
        var well = false;
        try { well = document.execCommand('copy'); } catch (_) { /* Then by hand. */ }
        copied(button, well);
      }
      if (navigator.clipboard && navigator.clipboard.writeText) {
        navigator.clipboard.writeText(code.textContent).then(function () { copied(button, true); }, select);
      } else {
        select();
      }
    });
  });

  var asked = /^#(?:f|path-)(\d+)$/.exec(location.hash);
  if (asked) pick(Number(asked[1]), true);
  else if (findings.length) open(findings[0], true);
})();
